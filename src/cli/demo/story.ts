import type { Operation, Plan } from "#/client/mica.ts";
import { formatBytes } from "#/lib/units.ts";
import { actualBytes, bytesWords } from "../plan-text.ts";
import type { Terminal } from "../terminal.ts";
import { formatDuration } from "../words.ts";

/** One materialisation as the closing table shows it. */
export interface Chapter {
  readonly what: string;
  readonly way: string;
  readonly movedBytes: number;
  readonly diskBytes: number;
  readonly tookMs: number;
}

/** Tells the demonstration while it happens. */
export class Story {
  readonly #terminal: Terminal;
  readonly #chapters: Chapter[] = [];
  #scene = 0;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** What comes now. */
  scene(title: string): void {
    this.#terminal.line();
    this.#terminal.line(this.#terminal.style("bold", `${++this.#scene}. ${title}`));
  }

  tell(text: string): void {
    this.#terminal.line(`   ${text}`);
  }

  /** Something was compared, and is as it should be. */
  proof(text: string): void {
    this.tell(`${this.#terminal.style("green", "✔")} ${text}`);
  }

  /** The way that Mica chose, before it is taken: why this one, and why none of the cheaper ones. */
  plan({ strategy, reason, passedOver }: Plan): void {
    this.#facts({
      way: `${this.#terminal.style(["bold", "cyan"], strategy)}: ${reason}`,
      "not taken": passedOver.map(({ strategy, because }) => `${strategy}: ${because}`).join("\n") || undefined,
    });
  }

  /** What it really took. */
  result(what: string, operation: Operation, diskBytes: number, tookMs: number): void {
    const bytes = actualBytes(operation.actual ?? {});
    this.#facts({
      planned: operation.plan ? bytesWords(operation.plan.bytes) : "no plan was kept",
      moved: bytesWords(bytes),
      took: `${this.#terminal.style("bold", formatDuration(tookMs))} from the call to the finished result`,
    });
    const way = operation.actual?.strategy ?? operation.plan?.strategy ?? "?";
    this.#chapters.push({ what, way, movedBytes: Math.max(bytes.read, bytes.written), diskBytes, tookMs });
  }

  #facts(facts: Readonly<Record<string, string | undefined>>): void {
    this.#terminal.facts(facts, { indent: "   ", nameWidth: "not taken".length });
  }

  /** All materialisations side by side. */
  close(): void {
    this.#terminal.line();
    const rows = this.#chapters.map(({ what, way, movedBytes, diskBytes, tookMs }) => [
      what,
      way,
      formatBytes(movedBytes),
      formatBytes(diskBytes),
      formatDuration(tookMs),
    ]);
    this.#terminal.table(["WHAT", "WAY", ">BYTES MOVED", ">SIZE OF THE DISK", ">TOOK"], rows);
  }
}
