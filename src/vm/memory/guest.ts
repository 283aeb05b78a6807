import type { BlockNode } from "#/domain/block-node.ts";
import type { BackupView } from "#/vm/backup.ts";
import type { GuestState } from "#/vm/driver.ts";
import type { GuestDisk, GuestSpec } from "#/vm/guest.ts";

/** A guest as the twin of a hypervisor keeps it. `live` is the hardware that it runs with; `config` what it starts with next. */
export interface MemoryGuest {
  config: GuestSpec;
  live: readonly GuestDisk[] | undefined;
  state: GuestState;
  reason: string;
  /** How it was when its memory was saved. */
  saved: "running" | "paused" | undefined;
  frozen: boolean;
  bootCount: number;
  /** Whether its agent answers. */
  agentHangs: boolean;
  /** Whether it takes notice of the power button, and of the request to let go of a disk. */
  listens: boolean;
  /** Whether it writes faster than its disks are copied. */
  outruns: boolean;
  readonly written: Map<string, number>;
  backup: MemoryBackup | undefined;
  /** What each disk held at the instant of each checkpoint, by name and target. */
  readonly checkpoints: Map<string, Map<string, Remembered>>;
  /** Where the disks are copied to, by target. */
  readonly mirrors: Map<string, BlockNode>;
}

export interface MemoryBackup {
  readonly name: string;
  readonly views: readonly BackupView[];
}

/** What a disk held at an instant. */
export interface Remembered {
  readonly node: BlockNode;
  readonly hashes: readonly string[];
}
