import { earlyRefusal, refusal, StreamInspector } from "#/format/inspect.ts";

/** Refuses content as soon as it cannot be what the image claims, or is unsafe. */
export class Inspector {
  readonly #claim: string;
  readonly #stream = new StreamInspector();

  constructor(claim: string) {
    this.#claim = claim;
  }

  update(chunk: Uint8Array): void {
    this.#stream.update(chunk);
    const refused = earlyRefusal(this.#stream, this.#claim);
    if (refused) throw refused;
  }

  /** The whole has come: what a guest would see of it, in bytes. */
  finish(): number {
    const inspection = this.#stream.finish();
    const refused = refusal(inspection, this.#claim);
    if (refused) throw refused;
    return inspection.virtualSizeBytes;
  }
}
