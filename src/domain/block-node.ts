/**
 * A block node of QEMU's block layer (`qapi/block-core.json` BlockdevOptions, QEMU 7.2), as it goes into a `json:`
 * filename or `blockdev-add`. The format is always named.
 */
export type BlockNode =
  | { readonly driver: "file"; readonly filename: string }
  | { readonly driver: "raw"; readonly file: BlockNode; readonly size?: number }
  | { readonly driver: "qcow2" | "vmdk" | "vpc" | "vhdx" | "vdi" | "luks"; readonly file: BlockNode; readonly backing?: BlockNode | null };
