/** What a server's blank disk is given, so that its guest need not: Nova's ephemeral disks and swap. */
export interface FileSystem {
  readonly kind: FileSystemKind;
  /** At most 16 characters. */
  readonly label?: string | undefined;
}

/** ext4 is what Nova makes for guests of the kind linux, and where nothing is said (nova/privsep/fs.py). */
export const FILE_SYSTEM_KINDS = ["ext2", "ext3", "ext4", "swap"] as const;
export type FileSystemKind = (typeof FILE_SYSTEM_KINDS)[number];
