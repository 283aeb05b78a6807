/** What goes wrong with a real Ceph: rights that are missing, quotas, daemons that hang, clones elsewhere; and its trash. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#/domain/errors.ts";
import { GiB, KiB, MiB, SECOND_MS } from "#/lib/units.ts";
import { assertContent, assertGone, dense, newDisk, padded, put, putNew, rejectsWith, scribble } from "#/storage/contract/bench.ts";
import type { RbdDriver } from "#/storage/rbd/driver.ts";
import { startCeph } from "./support/ceph.ts";
import { rbdPools } from "./support/rbd-pools.ts";

/** Its own: it is broken here. */
const ceph = await startCeph();
after(() => ceph[Symbol.asyncDispose]());
const pools = rbdPools(ceph);

const frozen = (sizeBytes: number) => ({ ...newDisk(sizeBytes), frozen: true });

/** The image in the other pool, as the volumes' pool sees it. */
function seen(images: RbdDriver, image: ReturnType<typeof newDisk>) {
  return { ...image, location: images.locate(image) };
}

async function messageOf(work: Promise<unknown>): Promise<AppError> {
  const error = await work.then(() => "nothing", (reason: unknown) => reason);
  assert.ok(error instanceof AppError, `it is refused: ${error}`);
  return error;
}

describe("rbd pools of one cluster", () => {
  it("clone and copy among each other, with a user that may only read the source", async () => {
    await using images = await pools.open({ pool: "images", user: "images" });
    await using volumes = await pools.open({ user: "volumes" });
    assert.equal(images.can.place, volumes.can.place);
    const [image, bytes] = [frozen(MiB), dense(MiB, 1)];
    await put(images, image, bytes);
    assert.match(images.locate(image), new RegExp(`^rbd://[0-9a-f-]{36}/images%2F[0-9a-f-]{36}/${image.id}/snap$`));
    const [clone, copy] = [newDisk(2 * MiB), newDisk(MiB)];
    assert.deepEqual(await volumes.clone(seen(images, image), clone), { target: image.id });
    assert.equal((await volumes.stat(clone.id))?.parent, image.id);
    await assertContent(volumes, clone, padded(bytes, 2 * MiB));
    await volumes.copy(seen(images, image), copy);
    await assertContent(volumes, copy, bytes);
    await rejectsWith("conflict", () => images.delete(image.id));
    await assertContent(images, image, bytes);
    const second = newDisk(MiB);
    await volumes.clone(seen(images, image), second); // What refused to go is as whole as before.
    await volumes.delete(second.id);
    await volumes.flatten(clone);
    await images.delete(image.id);
    await assertContent(volumes, clone, padded(bytes, 2 * MiB));
  });

  it("say which rights are missing", async () => {
    await using images = await pools.open({ pool: "images" });
    await using volumes = await pools.open({ user: "volumes" });
    const unfrozen = await putNew(images, dense(4 * KiB, 1)); // No `snap`: one would have to be made.
    const refused = await messageOf(volumes.clone(seen(images, unfrozen), newDisk(4 * KiB)));
    assert.equal(refused.code, "pool_forbidden");
    assert.match(refused.message, /client\.volumes may not.*profile rbd pool=volumes, profile rbd-read-only pool=images/);
    const nobody = await messageOf(pools.open({ user: "nobody" }));
    assert.equal(nobody.code, "pool_forbidden");
    assert.match(nobody.message, /client\.nobody may not do that; it needs .*profile rbd pool=volumes/);
  });

  it("say that a pool, a user or a cluster is not there", async () => {
    await rejectsWith("pool_unavailable", () => pools.openWhole({ pool: "nowhere" }));
    await rejectsWith("pool_unavailable", () => pools.openWhole({ user: "stranger" }));
    await rejectsWith("pool_unavailable", () => pools.openWhole({ confPath: "/nonexistent/ceph.conf" }));
    await using volumes = await pools.open();
    const elsewhere = { ...newDisk(MiB), location: `rbd://${randomUUID()}/images/x/snap` };
    await rejectsWith("not_supported", () => volumes.clone(elsewhere, newDisk(MiB)));
  });
});

describe("an rbd pool", () => {
  it("snapshots a volume while a client has it open and writes", async () => {
    await using volumes = await pools.open();
    const bytes = dense(MiB, 1);
    const [source, snapshot] = [await putNew(volumes, bytes), newDisk(MiB)];
    await volumes.snapshot(source, snapshot);
    const after = await scribble(volumes, source, bytes, 3);
    await assertContent(volumes, snapshot, bytes);
    await assertContent(volumes, source, after);
    await rejectsWith("conflict", () => volumes.delete(source.id));
    await volumes.delete(snapshot.id);
    await volumes.delete(source.id);
  });

  it("takes content that is longer than was said", async () => {
    await using volumes = await pools.open();
    const disk = newDisk(MiB);
    const bytes = dense(3 * MiB + 5, 1);
    await put(volumes, disk, bytes);
    await assertContent(volumes, disk, bytes);
    await assertGone(volumes, newDisk(1).id);
  });

  it("takes half a gigabyte, eight blocks at a time: what writes it has room for that", async () => {
    await using volumes = await pools.open();
    const disk = newDisk(512 * MiB);
    const writer = await volumes.receive(disk);
    const block = dense(4 * MiB, 1);
    const starts = Array.from({ length: 128 }, (_, index) => index * 4 * MiB).values();
    const write = async () => {
      for (const start of starts) await writer.write(block, start);
    };
    await Promise.all(Array.from({ length: 8 }, write));
    await writer.finish(512 * MiB);
    assert.equal((await volumes.stat(disk.id))?.allocatedBytes, 512 * MiB);
  });

  it("keeps deleted disks in the trash for their time, and no longer", async () => {
    const namespace = randomUUID();
    await ceph.rbd("namespace", "create", `volumes/${namespace}`);
    await using volumes = await pools.open({ namespace, deferredDeletion: true, deferredDeletionDelayMs: SECOND_MS, deferredDeletionPurgeIntervalMs: SECOND_MS });
    const disk = frozen(MiB);
    await put(volumes, disk, dense(MiB, 1));
    const trash = async () => JSON.parse(await ceph.rbd("trash", "ls", "--format", "json", `volumes/${namespace}`)) as { name: string }[];
    await volumes.delete(disk.id);
    await volumes.delete(disk.id);
    await assertGone(volumes, disk.id);
    for (const endMs = Date.now() + 60 * SECOND_MS; (await trash()).length > 0; await sleep(500)) assert.ok(Date.now() < endMs, "it is purged");
  });

  it("is full at its quota", async () => {
    await using volumes = await pools.open({ pool: "vms", opTimeoutMs: 4 * SECOND_MS });
    await ceph.ceph("osd", "pool", "set-quota", "vms", "max_bytes", String(4 * MiB));
    const disk = newDisk(GiB);
    const fill = async () => {
      const writer = await volumes.receive(disk);
      const block = Buffer.from(dense(4 * MiB, 1));
      try {
        for (let offset = 0; offset < 200 * block.length; offset += block.length) {
          await writer.write(block, offset);
          await sleep(200); // The cluster counts now and then.
        }
      } finally {
        await ceph.ceph("osd", "pool", "set-quota", "vms", "max_bytes", "0").then(() => writer.abort());
      }
    };
    await rejectsWith("pool_full", fill);
    await assertGone(volumes, disk.id);
  });
});

describe("a daemon that hangs", () => {
  for (const daemon of ["osd.0", "mon.a"] as const) {
    it(`keeps nobody waiting for ever: ${daemon}`, async () => {
      await using volumes = await pools.open({ opTimeoutMs: 2 * SECOND_MS });
      const disk = await putNew(volumes, dense(MiB, 1));
      const pid = await ceph.pidOf(daemon);
      process.kill(pid, "SIGSTOP");
      try {
        const startedMs = performance.now();
        await rejectsWith("pool_unavailable", () => volumes.create(newDisk(MiB)));
        await rejectsWith("pool_unavailable", () => volumes.stat(disk.id));
        assert.ok(performance.now() - startedMs < 100 * SECOND_MS);
      } finally {
        process.kill(pid, "SIGCONT");
      }
      for (const endMs = Date.now() + 60 * SECOND_MS; ; await sleep(500)) {
        const found = await volumes.stat(disk.id).catch(() => undefined);
        if (found?.sizeBytes === MiB) break;
        assert.ok(Date.now() < endMs, "it goes on afterwards");
      }
    });
  }
});
