import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { AppError } from "#/domain/errors.ts";
import { GiB, MiB } from "#/lib/units.ts";
import { dataDisk, newSpec, rejectsWith, type VmBench } from "#/vm/contract/bench.ts";

/** What needs no guest that runs: facts(), define(), stat(), list(), undefine(), and who is refused. */
export function contractOfDefining(bench: () => VmBench): void {
  it("facts() tells what the host is and has", async () => {
    const facts = await bench().driver.facts();
    assert.ok(facts.hostname.length > 0 && facts.vcpuCount > 0 && facts.memoryBytes > 64 * MiB);
    assert.ok(Number.isSafeInteger(facts.hypervisorVersion) && facts.hypervisorVersion >= 1_000_000);
    assert.equal(facts.virtTypeReason === undefined, facts.virtType === "kvm");
  });

  it("define() makes a guest known that does not run; repeated, it replaces what is known", async () => {
    const { driver } = bench();
    const spec = await newSpec(bench());
    await driver.define(spec);
    await driver.define(spec);
    await driver.define({ ...spec, title: "renamed", memoryBytes: GiB, vcpuCount: 2, disks: [...spec.disks, dataDisk("vdb", await bench().blankNode("raw", MiB))] });
    const { disks, ...stat } = (await driver.stat(spec.id)) ?? assert.fail("it is not known");
    assert.deepEqual(stat, { id: spec.id, state: "shutoff", reason: "unknown", title: "renamed", memoryBytes: GiB, vcpuCount: 2, agentConnected: false, mirrored: [] });
    assert.deepEqual(disks, [{ target: "vda", serial: spec.disks[0]?.serial }, { target: "vdb", serial: "data-vdb" }]);
    assert.equal((await driver.list()).filter(({ id }) => id === spec.id).length, 1);
    await driver.undefine(spec.id);
  });

  it("define() keeps whatever a user calls a server, and nothing of it is taken for more than a name", async () => {
    const { driver } = bench();
    const titles = [`<&"'>`, "]]></title><on_crash>restart</on_crash>", "naïve 服务器 🚀", "a\ttab", "--&#0;--", "$(reboot) `id` %s {}"];
    for (const title of titles) {
      const spec = await newSpec(bench(), { title, disks: [] });
      await driver.define(spec);
      assert.equal((await driver.stat(spec.id))?.title, title);
      await driver.undefine(spec.id);
    }
    const spec = await newSpec(bench(), { title: "two\nlines\u0000\ud800", disks: [] });
    await driver.define(spec); // What no hypervisor can show is refused nowhere.
    assert.ok(await driver.stat(spec.id));
    await driver.undefine(spec.id);
  });

  it("undefine() forgets a guest, and may be repeated", async () => {
    const { driver } = bench();
    const spec = await newSpec(bench());
    await driver.define(spec);
    await driver.undefine(spec.id);
    await driver.undefine(spec.id);
    assert.equal(await driver.stat(spec.id), undefined);
    assert.ok(!(await driver.list()).some(({ id }) => id === spec.id));
  });

  it("a guest that is not defined is gone for those who want it gone, and not found for all others", async () => {
    const { driver } = bench();
    const [id, disk] = [randomUUID(), dataDisk("vdb", await bench().blankNode("raw", MiB))];
    assert.equal(await driver.stat(id), undefined);
    for (const gone of [driver.undefine(id), driver.destroy(id), driver.discardSaved(id)]) await gone;
    for (const gone of [driver.endBackup(id), driver.endMirror(id, "vdb"), driver.deleteCheckpoint(id, "first")]) await gone;
    assert.equal(await driver.findBackup(id), undefined);
    for (const method of ["start", "shutdown", "reboot", "reset", "pause", "resume", "save", "freeze", "thaw"] as const) {
      await rejectsWith("not_found", () => driver[method](id));
    }
    await rejectsWith("not_found", () => driver.attachDisk(id, disk));
    await rejectsWith("not_found", () => driver.detachDisk(id, "vdb"));
    await rejectsWith("not_found", () => driver.resizeDisk(id, "vdb", MiB));
    await rejectsWith("not_found", () => driver.replaceDisk(id, "vdb", disk));
    await rejectsWith("not_found", () => driver.diskStats(id, "vdb"));
    await rejectsWith("not_found", () => driver.beginBackup(id, { name: "one", folder: "/nowhere", disks: [{ target: "vdb" }] }));
    await rejectsWith("not_found", () => driver.listCheckpoints(id));
    await rejectsWith("not_found", () => driver.mirrorDisk(id, "vdb", disk.node, { shallow: false }));
    await rejectsWith("not_found", () => driver.consoleTail(id, 10));
    await rejectsWith("not_found", () => driver.agent(id, { execute: "guest-ping" }));
    await rejectsWith("not_found", () => driver.setUserPassword(id, "root", "secret"));
  });

  it("a guest that does not run refuses what only a running one can do", async () => {
    const { driver } = bench();
    const spec = await newSpec(bench());
    await driver.define(spec);
    const { id } = spec;
    for (const method of ["reboot", "reset", "pause", "resume", "save", "freeze", "thaw"] as const) await rejectsWith("conflict", () => driver[method](id));
    await rejectsWith("conflict", () => driver.resizeDisk(id, "vda", GiB));
    await rejectsWith("conflict", () => driver.diskStats(id, "vda"));
    await rejectsWith("conflict", () => driver.agent(id, { execute: "guest-ping" }));
    for (const fine of [driver.shutdown(id), driver.destroy(id), driver.discardSaved(id)]) await fine;
    assert.equal(await driver.consoleTail(id, 100), "");
    await driver.undefine(id);
  });

  it("attachDisk() and detachDisk() change a guest that does not run, and may be repeated", async () => {
    const { driver } = bench();
    const spec = await newSpec(bench());
    const disk = dataDisk("vdb", await bench().blankNode("qcow2", MiB));
    await driver.define(spec);
    for (let times = 0; times < 2; times++) await driver.attachDisk(spec.id, disk);
    assert.deepEqual((await driver.stat(spec.id))?.disks.map(({ target }) => target), ["vda", "vdb"]);
    const other = dataDisk("vdb", await bench().blankNode("raw", MiB));
    await rejectsWith("conflict", () => driver.attachDisk(spec.id, other));
    for (let times = 0; times < 2; times++) await driver.detachDisk(spec.id, "vdb");
    assert.deepEqual((await driver.stat(spec.id))?.disks.map(({ target }) => target), ["vda"]);
    await driver.undefine(spec.id);
  });

  it("attachDisk() and detachDisk() may find that the guest was just defined anew, with the disk or without it", async () => {
    const { driver } = bench();
    const spec = await newSpec(bench());
    const disk = dataDisk("vdb", await bench().blankNode("raw", MiB));
    const withDisk = { ...spec, disks: [...spec.disks, disk] };
    await driver.define(spec);
    for (let times = 0; times < 20; times++) {
      await Promise.all([driver.attachDisk(spec.id, disk), driver.define(withDisk)]);
      assert.deepEqual((await driver.stat(spec.id))?.disks.map(({ target }) => target), ["vda", "vdb"]);
      await Promise.all([driver.detachDisk(spec.id, "vdb"), driver.define(spec)]);
      assert.deepEqual((await driver.stat(spec.id))?.disks.map(({ target }) => target), ["vda"]);
    }
    await driver.undefine(spec.id);
  });

  it("attachDisk() while the memory is being saved is in time for it, or refused: saved memory knows its disks", async () => {
    const { driver } = bench();
    const spec = await newSpec(bench(), { disks: [dataDisk("vda", await bench().blankNode("raw", MiB))] }); // It boots nothing, and runs.
    const disk = dataDisk("vdb", await bench().blankNode("raw", MiB));
    const targets = async () => (await driver.stat(spec.id))?.disks.map(({ target }) => target);
    await driver.define(spec);
    await driver.start(spec.id);
    const saved = driver.save(spec.id);
    await delay(50);
    const refusal = await driver.attachDisk(spec.id, disk).then(() => undefined, (error: AppError) => error);
    assert.equal(refusal?.code ?? "conflict", "conflict");
    await saved;
    const wanted = refusal ? ["vda"] : ["vda", "vdb"];
    assert.deepEqual(await targets(), wanted, "as it will start next");
    await driver.start(spec.id);
    assert.deepEqual(await targets(), wanted, "as it runs");
    await driver.destroy(spec.id);
    await driver.undefine(spec.id);
  });

  it("start() fails where a disk is missing, and the guest stays off", async () => {
    const { driver } = bench();
    const spec = await newSpec(bench(), { disks: [dataDisk("vda", { driver: "raw", file: { driver: "file", filename: `/nowhere/${randomUUID()}` } })] });
    await driver.define(spec);
    await rejectsWith("tool_failed", () => driver.start(spec.id));
    assert.equal((await driver.stat(spec.id))?.state, "shutoff");
    await driver.undefine(spec.id);
  });

  it("a signal that is set ends a call with cancelled", async () => {
    const { driver } = bench();
    const options = { signal: AbortSignal.abort() };
    const spec = await newSpec(bench());
    await rejectsWith("cancelled", () => driver.list(options));
    await rejectsWith("cancelled", () => driver.define(spec, options));
    assert.equal(await driver.stat(spec.id), undefined);
  });

  it("many calls at once are all answered, also beyond what the hypervisor takes at once", async () => {
    const { driver } = bench();
    const spec = await newSpec(bench());
    await driver.define(spec);
    const stats = await Promise.all(Array.from({ length: 100 }, () => driver.stat(spec.id)));
    assert.ok(stats.every((stat) => stat?.id === spec.id));
    await driver.undefine(spec.id);
  });

  it("errors say what was being done, to which guest", async () => {
    const id = randomUUID();
    const error = await rejectsWith("not_found", () => bench().driver.start(id));
    assert.ok(error instanceof AppError && error.message.includes(id));
  });
}
