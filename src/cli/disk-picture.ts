/** A disk as a bar: each cell stands for as many bytes, and shows how much of them is marked. */
export class DiskPicture {
  readonly cellBytes: number;
  readonly #marked: Float64Array;
  readonly #sizeBytes: number;

  constructor(sizeBytes: number, cells = 64) {
    this.#sizeBytes = sizeBytes;
    this.cellBytes = Math.max(1, Math.ceil(sizeBytes / cells));
    this.#marked = new Float64Array(Math.ceil(sizeBytes / this.cellBytes));
  }

  mark({ start, end }: { readonly start: number; readonly end: number }): void {
    for (let at = start; at < end; ) {
      const cell = Math.floor(at / this.cellBytes);
      const next = Math.min(end, (cell + 1) * this.cellBytes);
      this.#marked[cell] = (this.#marked[cell] ?? 0) + next - at;
      at = next;
    }
  }

  toString(): string {
    return Array.from(this.#marked, (bytes, cell) => symbol(bytes / this.#bytesOf(cell))).join("");
  }

  /** The last cell may stand for fewer. */
  #bytesOf(cell: number): number {
    return Math.min(this.cellBytes, this.#sizeBytes - cell * this.cellBytes);
  }
}

function symbol(fraction: number): string {
  if (fraction === 0) return "·";
  if (fraction >= 1) return "█";
  return fraction < 0.34 ? "░" : fraction < 0.67 ? "▒" : "▓";
}
