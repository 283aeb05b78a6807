import Type from "typebox";

/** What an option says about itself beside JSON Schema's own words. */
export interface OptionNotes {
  readonly description: string;
  readonly unit?: "bytes" | "ms" | "GiB" | "MiB" | "bytes/s" | "CPU seconds" | "%" | "records";
  /** The default in words, where it depends on something else. */
  readonly derived?: string;
  /** A file or folder: made absolute, from where the value was written. */
  readonly path?: boolean;
  /** Never shown, never a flag, never in the file. */
  readonly secret?: boolean;
  /** 0 stands for "no limit". */
  readonly zeroIsUnlimited?: boolean;
}

export const whole = (fallback: number, minimum: number, notes: OptionNotes) => Type.Integer({ default: fallback, minimum, ...notes });
export const text = (notes: OptionNotes & { default?: string; pattern?: string; says?: string }) => Type.String({ minLength: 1, ...notes });
