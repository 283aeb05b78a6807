import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type BlockNode, overlayNode } from "#/domain/block-node.ts";
import { KiB, MiB, SECOND_MS } from "#/lib/units.ts";
import { createOverlay, info, jsonFilename } from "#/tools/qemu-img.ts";
import { run } from "#/tools/run.ts";
import type { BackupRequest } from "#/vm/backup.ts";
import { dataDisk, rejectsWith, until, untilUp, type VmBench } from "#/vm/contract/bench.ts";
import type { GuestSpec } from "#/vm/guest.ts";

const DISK_BYTES = 8 * MiB;
const WRITTEN_BYTES = MiB;
/** What a bitmap counts in. */
const GRAIN_BYTES = 64 * KiB;

/** Views, checkpoints and mirrors of a running guest's disks: vdb is an overlay, vdc raw. */
export function contractOfBackups(bench: () => VmBench, guest: () => GuestSpec): void {
  const write = (target: string, byte: number, lengthBytes = WRITTEN_BYTES) => bench().writeInGuest(guest().id, `data-${target}`, byte, lengthBytes);

  describe("views and mirrors of a guest's disks", () => {
    let base: BlockNode;
    let raw: BlockNode;

    before(async () => {
      [base, raw] = [await bench().blankNode("raw", DISK_BYTES), await bench().blankNode("raw", DISK_BYTES)];
      await change(base, 0x2e, 2 * MiB);
      await bench().driver.attachDisk(guest().id, dataDisk("vdb", await overlayOn(bench(), base)));
      await bench().driver.attachDisk(guest().id, dataDisk("vdc", raw));
      for (const target of ["vdb", "vdc"]) await until("the guest sees it", async () => (await bench().sizeInGuest(guest().id, `data-${target}`)) === DISK_BYTES);
    });
    after(async () => {
      await bench().driver.endBackup(guest().id);
      for (const target of ["vdb", "vdc"]) await bench().driver.endMirror(guest().id, target);
      for (const target of ["vdb", "vdc"]) await bench().driver.detachDisk(guest().id, target);
    });

    it("a view of several disks holds what they held at one instant, while the guest writes on", async () => {
      const { driver } = bench();
      const { id } = guest();
      await Promise.all([write("vdb", 0x41), write("vdc", 0x42)]);
      const request = await requestOf(bench(), "one", ["vdb", "vdc"]);
      const views = await driver.beginBackup(id, request);
      await Promise.all([write("vdb", 0x43), write("vdc", 0x44)]);
      assert.deepEqual(views.map(({ target, sizeBytes }) => [target, sizeBytes]), [["vdb", DISK_BYTES], ["vdc", DISK_BYTES]]);
      await assertHolds(nodeOf(views, "vdb"), 0x41);
      await assertHolds(nodeOf(views, "vdb"), 0x2e, WRITTEN_BYTES);
      await assertHolds(nodeOf(views, "vdc"), 0x42);
      assert.deepEqual(await driver.beginBackup(id, request), views);
      assert.deepEqual(await driver.findBackup(id), views);
      assert.deepEqual((await driver.stat(id))?.backup, { name: "one" });
      for (let times = 0; times < 2; times++) await driver.endBackup(id);
      assert.equal(await driver.findBackup(id), undefined);
      assert.equal((await driver.stat(id))?.backup, undefined);
      await write("vdc", 0x45);
    });

    it("a view that was prepared is of the instant that it is opened at", async () => {
      const { driver } = bench();
      const { id } = guest();
      const request = await requestOf(bench(), "one", ["vdb", "vdc"]);
      const open = await driver.prepareBackup(id, request);
      assert.equal(await driver.findBackup(id), undefined);
      await write("vdc", 0x53);
      await open();
      await write("vdc", 0x54);
      await assertHolds(nodeOf(await driver.beginBackup(id, request), "vdc"), 0x53);
      await driver.endBackup(id);
    });

    it("a guest has one backup at a time, of disks that it has", async () => {
      const { driver } = bench();
      const { id } = guest();
      const missing = await requestOf(bench(), "one", ["vdb", "vdx"]);
      await rejectsWith("not_found", () => driver.beginBackup(id, missing));
      await rejectsWith("tool_failed", () => driver.beginBackup(id, { ...missing, disks: [{ target: "vdb" }], folder: "/nowhere/views" }));
      assert.equal(await driver.findBackup(id), undefined);
      await driver.beginBackup(id, await requestOf(bench(), "one", ["vdb"]));
      const other = await requestOf(bench(), "two", ["vdc"]);
      await rejectsWith("conflict", () => driver.beginBackup(id, other));
      await driver.endBackup(id);
    });

    it("while its view is open a disk stays where it is and as large as it is, and the guest's memory is not saved", async () => {
      const { driver } = bench();
      const { id } = guest();
      const other = await bench().blankNode("raw", DISK_BYTES);
      await driver.beginBackup(id, await requestOf(bench(), "one", ["vdc"]));
      await rejectsWith("conflict", () => driver.resizeDisk(id, "vdc", 2 * DISK_BYTES));
      await rejectsWith("conflict", () => driver.detachDisk(id, "vdc"));
      await rejectsWith("conflict", () => driver.replaceDisk(id, "vdc", dataDisk("vdc", other)));
      await rejectsWith("conflict", () => driver.mirrorDisk(id, "vdc", other, { shallow: false }));
      await rejectsWith("conflict", () => driver.save(id));
      await driver.endBackup(id);
    });

    it("a paused guest's disks are viewed too", async () => {
      const { driver } = bench();
      const { id } = guest();
      await write("vdb", 0x46);
      await driver.pause(id);
      const views = await driver.beginBackup(id, await requestOf(bench(), "one", ["vdb"]));
      await driver.resume(id);
      await write("vdb", 0x47);
      await assertHolds(nodeOf(views, "vdb"), 0x46);
      await driver.endBackup(id);
    });

    it("a view tells what changed since a checkpoint, where the disk remembers one", async () => {
      const { driver } = bench();
      const { id } = guest();
      const first = await driver.beginBackup(id, { ...(await requestOf(bench(), "one", ["vdb", "vdc"])), checkpoint: "first" });
      assert.deepEqual(first.map(({ isRemembered, changed }) => [isRemembered, changed]), [[true, undefined], [false, undefined]]);
      await driver.endBackup(id);
      await write("vdb", 0x48, GRAIN_BYTES);
      const second = { ...(await requestOf(bench(), "two", [])), disks: [{ target: "vdb", since: "first" }, { target: "vdc" }], checkpoint: "second" };
      const views = await driver.beginBackup(id, second);
      assert.deepEqual(views.map(({ changed }) => changed), [[{ start: 0, end: GRAIN_BYTES }], undefined]);
      assert.deepEqual(await driver.beginBackup(id, second), views);
      await driver.endBackup(id);
      assert.deepEqual(await changedSince(bench(), id, "second"), []);
      assert.deepEqual([await changedSince(bench(), id, "first", 1), await changedSince(bench(), id, "first", 0)], [[{ start: 0, end: GRAIN_BYTES }], undefined]);
      for (const [target, since] of [["vdb", "never"], ["vdc", "first"]] as const) {
        const lost = { ...(await requestOf(bench(), "lost", [])), disks: [{ target, since }] };
        await rejectsWith("checkpoint_lost", () => driver.beginBackup(id, lost));
      }
      assert.equal(await driver.findBackup(id), undefined);
      assert.deepEqual(await driver.listCheckpoints(id), ["first", "second"]);
      for (let times = 0; times < 2; times++) await driver.deleteCheckpoint(id, "first");
      assert.deepEqual(await driver.listCheckpoints(id), ["second"]);
      await driver.deleteCheckpoint(id, "second");
    });

    it("a mirror holds what the guest had written until it was ended, of the disk's own layer or of all", async () => {
      const { driver } = bench();
      const { id } = guest();
      const [overlay, whole] = [await overlayOn(bench(), base), await bench().blankNode("raw", DISK_BYTES)];
      await Promise.all([write("vdb", 0x49), write("vdc", 0x4a)]);
      for (let times = 0; times < 2; times++) await driver.mirrorDisk(id, "vdb", overlay, { shallow: true });
      await driver.mirrorDisk(id, "vdc", whole, { shallow: false });
      assert.deepEqual((await driver.stat(id))?.mirrored, ["vdb", "vdc"]);
      await rejectsWith("conflict", () => driver.mirrorDisk(id, "vdc", overlay, { shallow: false }));
      const view = await requestOf(bench(), "one", ["vdb"]);
      await rejectsWith("conflict", () => driver.beginBackup(id, view));
      await Promise.all([write("vdb", 0x4b, GRAIN_BYTES), write("vdc", 0x4c, GRAIN_BYTES)]);
      for (const target of ["vdb", "vdc", "vdc", "vdx"]) await driver.endMirror(id, target);
      assert.deepEqual((await driver.stat(id))?.mirrored, []);
      await Promise.all([write("vdb", 0x4d), write("vdc", 0x4e)]);
      await assertHolds(overlay, 0x4b, 0, GRAIN_BYTES);
      await assertHolds(overlay, 0x49, GRAIN_BYTES, WRITTEN_BYTES - GRAIN_BYTES);
      await assertHolds(overlay, 0x2e, WRITTEN_BYTES);
      assert.ok((await info(overlay)).allocatedBytes < 2 * MiB); // What its backing file has is not in it too.
      await assertHolds(whole, 0x4c, 0, GRAIN_BYTES);
      await assertHolds(whole, 0x4a, GRAIN_BYTES, WRITTEN_BYTES - GRAIN_BYTES);
    });

    it("views and mirrors outlive the daemon, and are found again", async () => {
      const { driver } = bench();
      const { id } = guest();
      const whole = await bench().blankNode("raw", DISK_BYTES);
      await Promise.all([write("vdb", 0x4f), write("vdc", 0x50)]);
      await driver.mirrorDisk(id, "vdc", whole, { shallow: false });
      const request = await requestOf(bench(), "one", ["vdb"]);
      const views = await driver.beginBackup(id, request);
      await bench().killDaemon();
      await bench().startDaemon();
      assert.deepEqual(await driver.findBackup(id), views);
      assert.deepEqual(await driver.beginBackup(id, request), views);
      await driver.mirrorDisk(id, "vdc", whole, { shallow: false });
      await untilUp(bench(), id);
      await Promise.all([write("vdb", 0x51), write("vdc", 0x52)]);
      await assertHolds(nodeOf(views, "vdb"), 0x4f);
      await driver.endMirror(id, "vdc");
      await driver.endBackup(id);
      await assertHolds(whole, 0x52);
      const { backup, mirrored } = (await driver.stat(id)) ?? assert.fail("it is not known");
      assert.deepEqual([backup, mirrored], [undefined, []]);
    });
  });
}

/** What becomes of them when the guest ends. It does not run before, and not after. */
export function contractOfEndingBackups(bench: () => VmBench, guest: () => GuestSpec): void {
  it("a guest that stops takes its views along, one that is killed also what it remembered", async () => {
    const { driver } = bench();
    const { id } = guest();
    const disk = dataDisk("vdb", await overlayOn(bench(), await bench().blankNode("raw", DISK_BYTES)));
    const withDisk = { ...guest(), disks: [...guest().disks, disk] };
    await driver.define(withDisk);
    await driver.start(id);
    await untilUp(bench(), id);
    await driver.beginBackup(id, { ...(await requestOf(bench(), "one", ["vdb"])), checkpoint: "first" });
    await driver.endBackup(id);
    await bench().writeInGuest(id, "data-vdb", 0x41, GRAIN_BYTES);
    const request = await requestOf(bench(), "two", ["vdb"]);
    await driver.beginBackup(id, request);
    await driver.destroy(id);

    await assertNothingOpen(bench(), id);
    await rejectsWith("conflict", () => driver.beginBackup(id, request));
    await rejectsWith("conflict", () => driver.mirrorDisk(id, "vdb", disk.node, { shallow: false }));
    await rejectsWith("conflict", () => driver.deleteCheckpoint(id, "first"));
    await driver.define({ ...withDisk, title: "renamed" });
    assert.deepEqual(await driver.listCheckpoints(id), ["first"]);
    await driver.start(id);
    assert.deepEqual(await changedSince(bench(), id, "first"), [{ start: 0, end: GRAIN_BYTES }]);

    await driver.beginBackup(id, request); // Its folder has what the other one left.
    await bench().killGuest(id);
    await until("it has crashed", async () => (await driver.stat(id))?.state === "crashed", 10 * SECOND_MS);
    await assertNothingOpen(bench(), id);
    await driver.start(id);
    await rejectsWith("checkpoint_lost", () => changedSince(bench(), id, "first"));
    const [view] = await driver.beginBackup(id, { ...request, checkpoint: "first" });
    assert.equal(view?.isRemembered, true);
    await driver.endBackup(id);
    assert.deepEqual(await changedSince(bench(), id, "first"), []);
    await driver.destroy(id);
    await driver.define(guest());
  });
}

async function assertNothingOpen({ driver }: VmBench, id: string): Promise<void> {
  assert.equal(await driver.findBackup(id), undefined);
  await driver.endBackup(id);
  await driver.endMirror(id, "vdb");
}

async function changedSince(bench: VmBench, id: string, since: string, changedCountMax?: number) {
  const [view] = await bench.driver.beginBackup(id, { ...(await requestOf(bench, "look", [])), disks: [{ target: "vdb", since, changedCountMax }] });
  await bench.driver.endBackup(id);
  return view?.changed;
}

async function requestOf(bench: VmBench, name: string, targets: readonly string[]): Promise<BackupRequest> {
  return { name, folder: await bench.newFolder(), disks: targets.map((target) => ({ target })) };
}

function nodeOf(views: readonly { readonly target: string; readonly node: BlockNode }[], target: string): BlockNode {
  return views.find((view) => view.target === target)?.node ?? assert.fail(`there is no view of ${target}`);
}

async function overlayOn(bench: VmBench, base: BlockNode): Promise<BlockNode> {
  const filename = join(await bench.newFolder(), "overlay");
  const backingFilename = base.driver === "raw" && base.file.driver === "file" ? base.file.filename : assert.fail("it is a raw file");
  await createOverlay({ filename, virtualSizeBytes: DISK_BYTES, backingFilename, backingFormat: "raw" });
  return overlayNode(filename, base);
}

async function change(node: BlockNode, byte: number, lengthBytes: number): Promise<void> {
  await run("qemu-io", ["-c", `write -P ${byte} 0 ${lengthBytes}`, jsonFilename(node)], { timeoutMs: 30 * SECOND_MS });
}

async function assertHolds(node: BlockNode, byte: number, offset = 0, lengthBytes = WRITTEN_BYTES): Promise<void> {
  const { stdout } = await run("qemu-io", ["-r", "-c", `read -P ${byte} ${offset} ${lengthBytes}`, jsonFilename(node)], { timeoutMs: 30 * SECOND_MS });
  assert.doesNotMatch(stdout, /verification failed/i);
}
