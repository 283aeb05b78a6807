import type { BlockNode } from "#/domain/block-node.ts";
import type { DeviceKind, DiskBus } from "#/domain/block-device.ts";

/** A guest as the hypervisor is to run it: the server's hardware, spelled out. Who made it from which properties is not its business. */
export interface GuestSpec {
  /** The server's id, a UUID; also the domain's. Its name is `guestName(id)`. */
  readonly id: string;
  /** For people who look at the hypervisor: the server's name, any text. */
  readonly title: string;
  readonly memoryBytes: number;
  readonly vcpuCount: number;
  readonly boot: GuestBoot;
  readonly disks: readonly GuestDisk[];
  readonly nics: readonly GuestNic[];
  /** Absolute. The guest's first serial port is written here; kept over restarts of the guest. */
  readonly consoleLogPath: string;
  /** Whether it has the port that qemu-guest-agent listens on (`hw_qemu_guest_agent`). Without it, calls of the agent are refused. */
  readonly guestAgent: boolean;
  /** Whether it has a source of random numbers (`hw_rng_model`). */
  readonly rng: boolean;
  /** `hw_machine_type`, such as `pc` or `q35`; without it, the configured one. */
  readonly machineType?: string | undefined;
  /** A CPU model by name, instead of the configured mode. */
  readonly cpuModel?: string | undefined;
  /** `hw_scsi_model`: of the controller of its `scsi` disks; without it, `virtio-scsi`. */
  readonly scsiModel?: string | undefined;
  /** `hw_video_model`; without it, there is no graphics card. */
  readonly videoModel?: string | undefined;
}

export type GuestBoot =
  /** From its disks, in the order of `bootOrder`. */
  | { readonly kind: "firmware"; readonly firmware: "bios" | "uefi" }
  /** From a kernel that lies outside of its disks (`kernel_id`, `ramdisk_id`). Paths are absolute. */
  | { readonly kind: "kernel"; readonly kernelPath: string; readonly ramdiskPath?: string | undefined; readonly commandLine: string };

export interface GuestDisk {
  /** `vda`, `sdb`, `hdc`: its name to us, and its place on the bus. Guests may call it otherwise. */
  readonly target: string;
  readonly bus: DiskBus;
  readonly device: DeviceKind;
  readonly node: BlockNode;
  /** What the guest reads as its serial number: the volume's id. Virtio shows the first 20 characters. */
  readonly serial?: string | undefined;
  /** From 1; without it, nothing boots from it. */
  readonly bootOrder?: number | undefined;
  readonly readOnly?: boolean | undefined;
  /** Whether other guests may have it open too (`multiattach`). */
  readonly shareable?: boolean | undefined;
  /** QEMU's cache mode; without it `none`, which needs a file system with O_DIRECT. */
  readonly cache?: "none" | "writeback" | "writethrough" | "directsync" | "unsafe" | undefined;
  /** Whether the guest's discards free space. */
  readonly discard?: boolean | undefined;
  readonly limits?: DiskLimits | undefined;
}

/** Zero or absent is without a limit. A total excludes the one for reads and the one for writes. */
export interface DiskLimits {
  readonly totalBytesPerSecond?: number | undefined;
  readonly readBytesPerSecond?: number | undefined;
  readonly writeBytesPerSecond?: number | undefined;
  readonly totalIops?: number | undefined;
  readonly readIops?: number | undefined;
  readonly writeIops?: number | undefined;
}

export type GuestNic =
  /** QEMU's own user-mode network: the guest reaches out, nobody reaches in. */
  | { readonly kind: "user"; readonly mac: string; readonly model?: string | undefined }
  /** A network of libvirt's, or a bridge of the host's, by its name. */
  | { readonly kind: "network" | "bridge"; readonly name: string; readonly mac: string; readonly model?: string | undefined };

/** Names the guest to the hypervisor, and marks it as Mica's. */
export function guestName(id: string): string {
  return `${GUEST_NAME_PREFIX}${id}`;
}
export const GUEST_NAME_PREFIX = "mica-";
