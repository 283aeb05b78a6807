import { ClientError } from "./errors.ts";
import type { Session } from "./session.ts";

/** Whose disk. */
export interface MappedRecord {
  readonly kind: "image" | "volume" | "snapshot";
  readonly id: string;
}

/** A part of a disk's map; in bytes of what a guest sees. */
export interface MapPage extends MappedRecord {
  readonly sizeBytes: number;
  readonly start: number;
  readonly end: number;
  /** The offset of the next page. */
  readonly next?: number;
  /** How Mica knows it, in words. */
  readonly how: string;
}

export interface Extent {
  readonly start: number;
  readonly end: number;
  readonly kind: "data" | "zero";
}

export interface ExtentsPage extends MapPage {
  readonly extents: readonly Extent[];
  readonly dataBytes: number;
  readonly zeroBytes: number;
}

export interface ChangesPage extends MapPage {
  readonly since: MappedRecord;
  readonly changes: readonly { readonly start: number; readonly end: number }[];
  readonly changedBytes: number;
}

/** The most that Mica gives at once. */
const PAGE_MAX = 10_000;

/** Where disks hold data, and what of them has changed: page by page, so that a scattered disk of many TiB needs little memory. */
export class Maps {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  extents(record: MappedRecord, signal?: AbortSignal): AsyncGenerator<ExtentsPage> {
    return this.#pages<ExtentsPage>(record, "extents", {}, `show where the ${record.kind} ${record.id} holds data`, signal);
  }

  /** `since`: the id of a snapshot, a volume or an image. */
  changes(record: MappedRecord, since: string, signal?: AbortSignal): AsyncGenerator<ChangesPage> {
    return this.#pages<ChangesPage>(record, "changes", { since }, `show what of the ${record.kind} ${record.id} has changed`, signal);
  }

  async *#pages<Page extends MapPage>(
    { kind, id }: MappedRecord,
    what: "extents" | "changes",
    query: Readonly<Record<string, string>>,
    doing: string,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Page> {
    for (let offset: number | undefined = 0; offset !== undefined; ) {
      const search = new URLSearchParams({ ...query, offset: String(offset), limit: String(PAGE_MAX) });
      const path = `/${kind}s/${encodeURIComponent(id)}/${what}?${search}`;
      const answer: Record<typeof what, Page> = await this.#session.json("mica", "GET", path, { what: doing, signal });
      const page = answer[what];
      yield page;
      if (page.next !== undefined && page.next <= offset) throw new ClientError("refused", `Mica does not go on after byte ${offset}.`);
      offset = page.next;
    }
  }
}
