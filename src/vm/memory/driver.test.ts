import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { type BlockNode, overlayNode } from "#/domain/block-node.ts";
import { MiB, SECOND_MS } from "#/lib/units.ts";
import { createOverlay, info, jsonFilename } from "#/tools/qemu-img.ts";
import { run } from "#/tools/run.ts";
import { hypervisorContract } from "#/vm/contract.ts";
import { dataDisk, newSpec, rejectsWith, type VmBench } from "#/vm/contract/bench.ts";
import { MemoryHypervisor } from "#/vm/memory/driver.ts";
import { MemoryHost } from "#/vm/memory/host.ts";

hypervisorContract("MemoryHypervisor", openMemoryBench);

describe("MemoryHypervisor", () => {
  it("fails and dies where a test says so, before or after its work", async () => {
    const host = new MemoryHost();
    const driver = new MemoryHypervisor(host);
    const before = Promise.withResolvers<void>();
    host.hooks.before = (method) => method === "list" && before.promise;
    const dead = driver.list();
    assert.equal(await Promise.race([dead, Promise.resolve("waiting")]), "waiting");
    host.hooks.after = (method) => method === "facts" && Promise.reject(new Error("planted"));
    await assert.rejects(driver.facts(), /planted/);
    before.resolve();
    assert.deepEqual(await dead, []);
  });

  it("lives on when a driver is disposed of, as a host does", async () => {
    const host = new MemoryHost();
    await using bench = await openMemoryBench(host);
    const spec = await newSpec(bench);
    await bench.driver.define(spec);
    await bench.driver.start(spec.id);
    await bench.driver[Symbol.asyncDispose]();
    assert.equal((await new MemoryHypervisor(host).stat(spec.id))?.state, "running");
  });

  it("a guest that does not listen must be destroyed, and keeps its disks", async () => {
    const host = new MemoryHost();
    await using bench = await openMemoryBench(host);
    const { driver } = bench;
    const spec = await newSpec(bench);
    await driver.define(spec);
    await driver.start(spec.id);
    host.get(spec.id).listens = false;
    await driver.shutdown(spec.id);
    assert.equal((await driver.stat(spec.id))?.state, "running");
    await driver.attachDisk(spec.id, dataDisk("vdb", await bench.blankNode("raw", MiB)));
    await rejectsWith("conflict", () => driver.detachDisk(spec.id, "vdb", { timeoutMs: 20 }));
  });
});

async function openMemoryBench(host = new MemoryHost()): Promise<VmBench> {
  const folder = await mkdtemp(join(tmpdir(), "mica-memory-vm-"));
  const newPath = () => join(folder, randomUUID());
  const rawNode = async (sizeBytes: number): Promise<BlockNode & { driver: "raw" }> => {
    const filename = newPath();
    await writeFile(filename, "");
    await truncate(filename, sizeBytes);
    return { driver: "raw", file: { driver: "file", filename } };
  };
  const find = (id: string, serial: string) => host.get(id).live?.find((disk) => disk.serial === serial);
  return {
    secondMs: 30,
    driver: new MemoryHypervisor(host),
    openAnother: () => new MemoryHypervisor(host),
    bootDisk: async () => ({ ...dataDisk("vda", await rawNode(MiB)), serial: "root", bootOrder: 1 }),
    blankNode: async (format, sizeBytes) => {
      const base = await rawNode(sizeBytes);
      if (format === "raw") return base;
      const filename = newPath();
      await createOverlay({ filename, virtualSizeBytes: sizeBytes, backingFilename: "x", backingFormat: "raw" });
      return overlayNode(filename, base);
    },
    newFolder: () => mkdtemp(join(folder, "folder-")),
    consoleLogPath: newPath,
    sizeInGuest: async (id, serial) => {
      const disk = find(id, serial);
      return disk && (await info(disk.node)).virtualSizeBytes;
    },
    writeInGuest: async (id, serial, byte, lengthBytes) => {
      const { node, target } = find(id, serial) ?? assert.fail(`the guest has no disk ${serial}`);
      await run("qemu-io", ["-c", `write -P ${byte} 0 ${lengthBytes}`, jsonFilename(node)], { timeoutMs: 10 * SECOND_MS });
      host.get(id).written.set(target, lengthBytes);
    },
    bootId: async (id) => String(host.get(id).bootCount),
    hangAgent: async (id, durationMs) => {
      host.get(id).agentHangs = true;
      setTimeout(() => (host.get(id).agentHangs = false), durationMs).unref();
    },
    killDaemon: async () => host.goDown(),
    startDaemon: async () => host.comeBack(),
    killGuest: async (id) => host.crash(id),
    [Symbol.asyncDispose]: async () => rm(folder, { recursive: true }),
  };
}
