import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { MINUTE_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";
import { until } from "#/vm/contract/bench.ts";
import { bootsWith, probeAcceleration } from "#/vm/libvirt/kvm.ts";
import { guestImage } from "./support/guest.ts";

it("the smallest guest boots where there is no doubt: emulated", async () => {
  assert.equal(await bootsWith("tcg"), undefined);
});

it("a whole guest boots with what is found to work here, from a boot loader", async () => {
  const { virtType, virtTypeReason } = await probeAcceleration("x86_64");
  assert.equal(virtTypeReason === undefined, virtType === "kvm");
  const folder = await mkdtemp("/tmp/mica-acceleration-");
  const ended = new AbortController();
  const serial = join(folder, "serial");
  const disk = JSON.stringify({ driver: "raw", "node-name": "disk", file: { driver: "file", filename: (await guestImage()).disk, locking: "off" }, "read-only": true });
  const overlay = ["-blockdev", disk, "-device", "virtio-blk-pci,drive=disk,share-rw=on"];
  const accelerator = virtType === "kvm" ? "kvm" : "tcg";
  const args = ["-machine", `pc,accel=${accelerator}`, "-m", "256", "-display", "none", "-nic", "none", "-serial", `file:${serial}`, ...overlay];
  const guest = run("qemu-system-x86_64", args, { timeoutMs: 2 * MINUTE_MS, signal: ended.signal }).catch(() => {});
  try {
    await until("the guest is up", async () => (await readFile(serial, "utf8").catch(() => "")).includes("GUEST-READY"), MINUTE_MS);
  } finally {
    ended.abort();
    await guest;
    await rm(folder, { recursive: true });
  }
});
