import assert from "node:assert/strict";
import { it } from "node:test";
import type { BlockNode } from "#/domain/block-node.ts";
import type { AppError } from "#/domain/errors.ts";
import { KiB, MiB, SECOND_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";
import { jsonFilename } from "#/tools/qemu-img.ts";
import { dataDisk, EventLog, newSpec, rejectsWith, until, type VmBench } from "#/vm/contract/bench.ts";
import type { GuestSpec } from "#/vm/guest.ts";

const WRITTEN_BYTES = 64 * KiB;

/** Disks of a running guest: attach, use, resize, replace, detach. */
export function contractOfDisks(bench: () => VmBench, guest: () => GuestSpec): void {
  const roundTrip = (format: "raw" | "qcow2", target: string, byte: number) => async () => {
    const { driver } = bench();
    const { id } = guest();
    const disk = dataDisk(target, await bench().blankNode(format, 8 * MiB));
    for (let times = 0; times < 2; times++) await driver.attachDisk(id, disk);
    await until("the guest sees it", async () => (await bench().sizeInGuest(id, `data-${target}`)) === 8 * MiB);
    assert.ok((await driver.stat(id))?.disks.some((attached) => attached.target === target && attached.serial === `data-${target}`));
    await bench().writeInGuest(id, `data-${target}`, byte, WRITTEN_BYTES);
    const stats = await driver.diskStats(id, target);
    assert.ok(stats.writtenBytes >= WRITTEN_BYTES && stats.sizeBytes === 8 * MiB, JSON.stringify(stats));
    using log = await EventLog.open(driver);
    for (let times = 0; times < 2; times++) await driver.detachDisk(id, target);
    assert.ok(!(await driver.stat(id))?.disks.some((attached) => attached.target === target));
    await until("the guest has let go of it", async () => (await bench().sizeInGuest(id, `data-${target}`)) === undefined);
    await assertBytes(disk.node, byte);
    assert.ok(log.events.every((event) => event.kind !== "disk_detached" || event.target === target));
  };

  it("a raw disk is attached, written to and detached, and has the bytes", roundTrip("raw", "vdb", 0x41));
  it("so does a qcow2 overlay, on its backing file", roundTrip("qcow2", "vdc", 0x42));

  it("several disks are there at once, and another one's target is taken", async () => {
    const { driver } = bench();
    const { id } = guest();
    const disks = [dataDisk("vdb", await bench().blankNode("raw", MiB)), dataDisk("vdc", await bench().blankNode("raw", 2 * MiB))];
    for (const disk of disks) await driver.attachDisk(id, disk);
    for (const [i, { serial = "" }] of disks.entries()) await until("the guest sees it", async () => (await bench().sizeInGuest(id, serial)) === (i + 1) * MiB);
    const other = { ...dataDisk("vdb", await bench().blankNode("raw", MiB)) };
    await rejectsWith("conflict", () => driver.attachDisk(id, other));
    for (const { target } of disks) await driver.detachDisk(id, target);
  });

  it("attachDisk() of a disk that is missing fails, and nothing is attached", async () => {
    const { driver } = bench();
    const { id } = guest();
    await rejectsWith("tool_failed", () => driver.attachDisk(id, dataDisk("vdb", { driver: "raw", file: { driver: "file", filename: "/nowhere/disk" } })));
    assert.deepEqual((await driver.stat(id))?.disks.map(({ target }) => target), ["vda"]);
  });

  it("a disk that another running guest writes to is refused", async () => {
    const { driver } = bench();
    const disk = dataDisk("vdb", await bench().blankNode("raw", MiB));
    await driver.attachDisk(guest().id, disk);
    const other = await newSpec(bench(), { disks: [{ ...disk, target: "vda" }] });
    await driver.define(other);
    await rejectsWith("conflict", () => driver.start(other.id));
    await driver.undefine(other.id);
    await driver.detachDisk(guest().id, "vdb");
  });

  it("resizeDisk() has the guest see more, may be repeated, and never shrinks", async () => {
    const { driver } = bench();
    const { id } = guest();
    for (const format of ["raw", "qcow2"] as const) {
      await driver.attachDisk(id, dataDisk("vdb", await bench().blankNode(format, 4 * MiB)));
      for (let times = 0; times < 2; times++) await driver.resizeDisk(id, "vdb", 12 * MiB);
      await until("the guest sees it", async () => (await bench().sizeInGuest(id, "data-vdb")) === 12 * MiB);
      await rejectsWith("conflict", () => driver.resizeDisk(id, "vdb", 4 * MiB));
      await driver.detachDisk(id, "vdb");
    }
    await rejectsWith("not_found", () => driver.resizeDisk(id, "vdb", MiB));
  });

  it("replaceDisk() moves the guest to another disk with all that was written, and may be repeated", async () => {
    const { driver } = bench();
    const { id } = guest();
    const [from, to] = [dataDisk("vdb", await bench().blankNode("raw", 8 * MiB)), dataDisk("vdb", await bench().blankNode("raw", 8 * MiB))];
    await driver.attachDisk(id, from);
    await until("the guest sees it", async () => (await bench().sizeInGuest(id, "data-vdb")) === 8 * MiB);
    await bench().writeInGuest(id, "data-vdb", 0x43, WRITTEN_BYTES);
    const fractions: number[] = [];
    for (let times = 0; times < 2; times++) await driver.replaceDisk(id, "vdb", to, { onProgress: (fraction) => fractions.push(fraction) });
    assert.equal(fractions.at(-1), 1);
    await bench().writeInGuest(id, "data-vdb", 0x44, WRITTEN_BYTES);
    await driver.detachDisk(id, "vdb");
    await assertBytes(from.node, 0x43);
    await assertBytes(to.node, 0x44);
  });

  it("a guest that does not let go of a disk keeps it: detachDisk() is conflict at its limit", async () => {
    const { driver } = bench();
    const { id } = guest();
    await driver.attachDisk(id, dataDisk("vdb", await bench().blankNode("raw", MiB)));
    await until("the guest sees it", async () => (await bench().sizeInGuest(id, "data-vdb")) === MiB);
    await driver.pause(id);
    const began = performance.now();
    await rejectsWith("conflict", () => driver.detachDisk(id, "vdb", { timeoutMs: bench().secondMs }));
    assert.ok(performance.now() - began < 5 * SECOND_MS);
    assert.ok((await driver.stat(id))?.disks.some(({ target }) => target === "vdb"));
    await driver.resume(id);
    await driver.detachDisk(id, "vdb");
  });

  it("a guest whose memory is saved keeps the disks that its memory knows", async () => {
    const { driver } = bench();
    const { id } = guest();
    const disk = dataDisk("vdb", await bench().blankNode("raw", MiB));
    await driver.save(id);
    await rejectsWith("conflict", () => driver.attachDisk(id, disk));
    await rejectsWith("conflict", () => driver.detachDisk(id, "vda"));
    await driver.start(id);
  });
}

/** What the disk begins with. */
async function assertBytes(node: BlockNode, byte: number): Promise<void> {
  const read = `read -P ${byte} 0 ${WRITTEN_BYTES}`;
  const { stdout } = await run("qemu-io", ["-r", "-c", read, jsonFilename(node)], { timeoutMs: 30 * SECOND_MS }).catch((error: AppError) => assert.fail(error.message));
  assert.doesNotMatch(stdout, /verification failed/i);
}
