import type { BlockNode } from "#/domain/block-node.ts";
import type { CallOptions, CopyOptions } from "#/vm/call-options.ts";

/**
 * How a hypervisor shows what a running guest's disks held at one instant, while the guest writes on. Part of `HypervisorDriver`, whose rules hold here too.
 *
 * A *view* is read where it is, over a socket (QEMU's backup job in pull mode): nothing is copied but what the guest overwrites meanwhile. A *checkpoint* is an instant from which
 * on a disk remembers what changes (QEMU's dirty bitmaps). A *mirror* is a disk that gets what the guest writes, until that is ended (QEMU's mirror job).
 *
 * Views and mirrors are the guest's process's own: they end with it. A guest has one set of views at a time, and while they are open it cannot be saved; a disk with a view can neither be detached, resized, mirrored nor replaced,
 * and one that is mirrored not be viewed. All else goes on: power, freezing, other disks.
 *
 * Of libvirt (9.0): the instant is within some 50 ms for each disk of the call. While views are open, libvirt does not learn that the agent in the guest comes or goes, and waits half a minute at each try
 * (`processSerialChangedEvent` of qemu_driver.c needs a kind of job that a backup keeps out): a guest that shuts down by itself is off only then, one that restarts has no agent until its next start, and `endBackup` may take that long.
 *
 * Checkpoints are persistent bitmaps in the top qcow2 file: they grow with the disk, and outlive detaching, saving and stopping. They are lost when QEMU is killed, and are not in a file that the guest is moved to, nor in one
 * that is put on top. Their names must be new to the file, which keeps them when the guest is undefined; forgetting one that is lost in some disk leaves those of other disks in their files.
 */
export interface GuestBackups {
  /**
   * Opens a view of each disk, all at the same instant; also of a paused guest. What the guest overwrites is kept in the folder until `endBackup`, at most the size
   * of its disks; where there is no room for it the guest goes on, and the disk's view can be read no more. Repeated, it gives what is open under the same name. `conflict` where another backup is open, a disk is being mirrored, or the guest does not run; `not_found` for a disk that
   * it does not have; `not_supported` where one of them cannot; `checkpoint_lost` where a disk does not know what changed since then: take a view of all of it then.
   */
  beginBackup(id: string, backup: BackupRequest, options?: CallOptions): Promise<BackupView[]>;

  /** Does what `beginBackup` has to do before the instant. The answer is the instant and little else, for a guest that is held meanwhile: to be called once, and soon. Errors of both as for `beginBackup`, which then shows the views. */
  prepareBackup(id: string, backup: BackupRequest, options?: CallOptions): Promise<PreparedBackup>;

  /** The views that are open, without what changed; undefined where there are none, or none any more: they went with their guest. Fine where it is not defined. */
  findBackup(id: string, options?: CallOptions): Promise<BackupView[] | undefined>;

  /** Closes the views, whatever their name: readers lose them at once. Fine where there are none, or no guest; a backup that is not Mica's is left alone. The folder is its caller's to remove. */
  endBackup(id: string, options?: CallOptions): Promise<void>;

  /** The names of its checkpoints, the newest last, also while it does not run. That one is listed does not say that its disks still know it. */
  listCheckpoints(id: string, options?: CallOptions): Promise<string[]>;

  /** Forgets a checkpoint; what it remembers goes over to the one before. Fine where it is gone, or the guest; `conflict` where the guest does not run. */
  deleteCheckpoint(id: string, name: string, options?: CallOptions): Promise<void>;

  /**
   * Copies a disk of a running guest into `node` until both are equal, and keeps them so until `endMirror`. `node` must exist in the same size, is overwritten, and is of no use before this has ended. `shallow`: only what
   * the disk's own layer has; `node` is then an overlay, empty, on the same backing file. Repeated, it goes on with the copy under way. Cancelled, or failed, nothing is mirrored.
   * `timed_out` where the guest writes faster than it is copied; `conflict` where the guest does not run, a view is open, or the disk is being copied to somewhere else.
   */
  mirrorDisk(id: string, target: string, node: BlockNode, options: MirrorOptions): Promise<void>;

  /** Stops mirroring at this instant, and the guest stays on its own disk: after `mirrorDisk` has ended, `node` holds what the guest has written up to now. Fine where nothing is mirrored, or no guest runs. */
  endMirror(id: string, target: string, options?: CallOptions): Promise<void>;
}

export type PreparedBackup = (options?: CallOptions) => Promise<void>;

export interface BackupRequest {
  /** Names the backup, so that a repeat finds its own: letters, digits, `-`, `_` and `.`. */
  readonly name: string;
  /** Absolute; exists, is this backup's own, and can be written to by QEMU. What is overwritten lies in it, and a socket, whose path may have 107 bytes. */
  readonly folder: string;
  readonly disks: readonly BackupDisk[];
  /** Remembers from this instant on what changes, under this name, in those disks that can: qcow2. */
  readonly checkpoint?: string | undefined;
}

export interface BackupDisk {
  readonly target: string;
  /** A checkpoint: the view tells what changed since. */
  readonly since?: string | undefined;
  /** How many ranges that may be: all of the disk is read where there are more. `LISTED_RANGES_MAX` where it is not given. */
  readonly changedCountMax?: number | undefined;
}

export interface BackupView {
  readonly target: string;
  /** What the guest saw, raw; to be read by QEMU's tools, by several at once. */
  readonly node: BlockNode;
  readonly sizeBytes: number;
  /** With `since`: what may have changed, in order, apart from each other. What stands elsewhere is as it was. Left out where that is in more places than are listed. */
  readonly changed?: readonly ByteRange[] | undefined;
  /** With `checkpoint`: whether it remembers this disk. */
  readonly isRemembered?: boolean | undefined;
}

export interface ByteRange {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

export interface MirrorOptions extends CopyOptions {
  readonly shallow: boolean;
  /** How long the copy may come no closer to the disk; without it, for ever. */
  readonly stallMsMax?: number | undefined;
}
