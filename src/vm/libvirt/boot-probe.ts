/**
 * A boot sector that does what boot loaders do first: it leaves real mode, and returns from an interrupt in protected mode. A KVM that is itself emulated may make a virtual processor, run the firmware,
 * and stop at such an instruction ("KVM internal error", QEMU's `target/i386/kvm`). At the end it writes `DONE` to QEMU's device `isa-debug-exit`, and QEMU exits.
 */
export function bootProbe(): Uint8Array {
  const sector = new Uint8Array(512);
  sector.set(CODE);
  sector.set([0x55, 0xaa], 510); // "This can be booted", to the firmware.
  return sector;
}

/** Where QEMU's device `isa-debug-exit` is in these guests; it ends QEMU with twice what is written there, and one. */
export const EXIT_PORT = 0xf4;
const DONE = 0x10;
export const EXIT_STATUS = 2 * DONE + 1;

/** The firmware loads it to 0x7c00. */
const CODE = [
  // In real mode.
  [0xfa], // cli
  [0x31, 0xc0], // xor ax, ax
  [0x8e, 0xd8], // mov ds, ax
  [0x0f, 0x01, 0x16, 0x31, 0x7c], // lgdt [0x7c31]
  [0x0f, 0x20, 0xc0], // mov eax, cr0
  [0x0c, 0x01], // or al, 1
  [0x0f, 0x22, 0xc0], // mov cr0, eax
  [0xea, 0x17, 0x7c, 0x08, 0x00], // jmp 0x08:0x7c17
  // 0x7c17, in protected mode.
  [0x66, 0xb8, 0x10, 0x00], // mov ax, 0x10
  [0x8e, 0xd0], // mov ss, ax
  [0xbc, 0x00, 0x7c, 0x00, 0x00], // mov esp, 0x7c00
  [0x9c], // pushfd
  [0x0e], // push cs
  [0x68, 0x2a, 0x7c, 0x00, 0x00], // push 0x7c2a
  [0xcf], // iretd
  // 0x7c2a, where that returns to.
  [0xb0, DONE], // mov al, DONE
  [0xe6, EXIT_PORT], // out EXIT_PORT, al
  [0xf4], // hlt
  [0xeb, 0xfd], // jmp back to hlt
  // 0x7c31: the length of the table of segments, less one, and where it is.
  [0x17, 0x00, 0x37, 0x7c, 0x00, 0x00],
  // 0x7c37: none; 0x08, code, and 0x10, data: all 4 GiB, 32 bits, privileged.
  [0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
  [0xff, 0xff, 0x00, 0x00, 0x00, 0x9a, 0xcf, 0x00],
  [0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0xcf, 0x00],
].flat();
