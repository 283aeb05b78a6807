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
    this.tell(`${this.#terminal.style("dim", "way       ")} ${this.#terminal.style(["bold", "cyan"], strategy)}: ${reason}`);
    for (const [index, { strategy, because }] of passedOver.entries()) {
      this.tell(`${this.#terminal.style("dim", index === 0 ? "not taken " : "          ")} ${strategy}: ${because}`);
    }
  }

  /** What it really took. */
  result(what: string, operation: Operation, diskBytes: number, tookMs: number): void {
    const bytes = actualBytes(operation.actual ?? {});
    this.tell(`${this.#terminal.style("dim", "planned   ")} ${operation.plan ? bytesWords(operation.plan.bytes) : "no plan was kept"}`);
    this.tell(`${this.#terminal.style("dim", "moved     ")} ${bytesWords(bytes)}`);
    this.tell(
      `${this.#terminal.style("dim", "took      ")} ${this.#terminal.style("bold", formatDuration(tookMs))} from the call to the finished result`,
    );
    const way = operation.actual?.strategy ?? operation.plan?.strategy ?? "?";
    this.#chapters.push({ what, way, movedBytes: Math.max(bytes.read, bytes.written), diskBytes, tookMs });
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
