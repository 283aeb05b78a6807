import { formatBytes } from "#/lib/units.ts";
import type { Terminal } from "./terminal.ts";
import { formatDuration, formatPercent, formatRate } from "./words.ts";

const WIDTH = 24;
/** More often, nobody sees the difference. */
const REDRAW_MS = 100;
/** How often a log gets a line where there is no terminal to redraw: at each tenth. */
const PLAIN_STEP = 0.1;

/** A bar with rate and time left on a terminal; a line per tenth elsewhere. */
export class Progress {
  readonly #terminal: Terminal;
  readonly #sizeBytes: number | undefined;
  readonly #startMs: number;
  readonly #nowMs: () => number;
  #plainNext = 0;
  #drawn = false;
  #drawnMs = Number.NEGATIVE_INFINITY;

  /** `sizeBytes`: what 100 % are, where it is bytes. */
  constructor(terminal: Terminal, sizeBytes?: number, nowMs: () => number = () => performance.now()) {
    this.#terminal = terminal;
    this.#sizeBytes = sizeBytes || undefined;
    this.#nowMs = nowMs;
    this.#startMs = nowMs();
  }

  /** `fraction` from 0 to 1; `label` says what goes on. */
  show(label: string, fraction: number): void {
    if (this.#terminal.isLive) {
      const nowMs = this.#nowMs();
      if (nowMs - this.#drawnMs < REDRAW_MS && fraction < 1) return;
      this.#drawnMs = nowMs;
      this.#terminal.redraw(`${label}  ${bar(fraction)} ${formatPercent(fraction).padStart(5)}  ${this.#figures(fraction)}`);
      this.#drawn = true;
    } else if (fraction >= this.#plainNext) {
      this.#terminal.line(`${label}  ${formatPercent(fraction)}  ${this.#figures(fraction)}`.trimEnd());
      this.#plainNext = (Math.floor(fraction / PLAIN_STEP + 1e-9) + 1) * PLAIN_STEP;
    }
  }

  /** Wipes the bar, so that a result can stand in its place. */
  clear(): void {
    if (this.#drawn) this.#terminal.redraw("");
    this.#drawn = false;
  }

  #figures(fraction: number): string {
    const passedMs = this.#nowMs() - this.#startMs;
    const left = fraction > 0.01 && fraction < 1 && passedMs > 500 ? `${formatDuration((passedMs / fraction) * (1 - fraction))} left` : "";
    if (!this.#sizeBytes) return left;
    const doneBytes = Math.round(fraction * this.#sizeBytes);
    return `${formatBytes(doneBytes)} of ${formatBytes(this.#sizeBytes)}  ${passedMs > 500 ? formatRate(doneBytes, passedMs) : ""}  ${left}`.trimEnd();
  }
}

function bar(fraction: number): string {
  const full = Math.round(Math.min(Math.max(fraction, 0), 1) * WIDTH);
  return `${"█".repeat(full)}${"░".repeat(WIDTH - full)}`;
}
