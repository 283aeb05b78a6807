import { InvalidArgumentError } from "commander";
import type { Client } from "./command.ts";

const RECORD_KINDS = ["image", "volume", "snapshot"] as const;

/** A record as people name it: `volume:boot`, `image:7f…`. */
export interface RecordArgument {
  readonly kind: (typeof RECORD_KINDS)[number];
  readonly idOrName: string;
}

export const RECORD_HELP = "image:ID, volume:ID or snapshot:ID (or a name)";

export function parseRecord(text: string): RecordArgument {
  const [, named, idOrName] = /^(\w+):(.+)$/.exec(text) ?? [];
  const kind = RECORD_KINDS.find((known) => known === named);
  if (!kind || !idOrName) throw new InvalidArgumentError("It must be image:ID, volume:ID or snapshot:ID.");
  return { kind, idOrName };
}

export async function findRecord(client: Client, { kind, idOrName }: RecordArgument): Promise<{ kind: RecordArgument["kind"]; id: string }> {
  switch (kind) {
    case "image":
      return { kind, id: (await client.images.find(idOrName)).id };
    case "volume":
      return { kind, id: (await client.volumes.find(idOrName)).id };
    case "snapshot":
      return { kind, id: (await client.volumes.findSnapshot(idOrName)).id };
  }
}
