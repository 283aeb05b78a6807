import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { access } from "node:fs/promises";
import { describe, it } from "node:test";
import { Materialise } from "#/app/materialise.ts";
import { updateServer } from "#/db/servers.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import type { CaptureFacts } from "#/planner/capture.ts";
import type { CaptureMethod } from "#/planner/plan.ts";
import { type CaptureServer, captureServer } from "#/saga/capture-server.ts";
import { deleteImage } from "#/saga/delete-image.ts";
import { MemoryJournal, sagaContract } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { forgetImage } from "#/saga/forget-image.ts";
import { powerServer } from "#/saga/power-server.ts";
import { captureFolder } from "#/vm/capture-folder.ts";
import { someContent } from "../../test/support/saga-world.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

const root = someContent();
const SIZE_BYTES = 2 * MiB;

interface Case {
  readonly only?: CaptureMethod | undefined;
  readonly vmState?: "active" | "paused" | "stopped" | "suspended";
  readonly format?: "raw" | "qcow2";
  readonly agent?: boolean;
}

const GUEST = { active: "running", paused: "paused", stopped: "shutoff", suspended: "suspended" } as const;

/** A server with an image that is queued for its disk. */
async function prepare(world: ServerWorld, { only, vmState = "active", format = "raw", agent = true }: Case = {}): Promise<CaptureServer & { readonly imageId: string }> {
  const serverId = await world.addRunning(root, SIZE_BYTES);
  if (agent) await updateServer(world.db, serverId, { image_properties: '{"hw_qemu_guest_agent":"yes"}' });
  await world.run(powerServer, { serverId, action: "softReboot" });
  const action = { active: undefined, paused: "pause", stopped: "os-stop", suspended: "suspend" } as const;
  if (action[vmState]) await world.run(powerServer, { serverId, action: action[vmState] });
  await updateServer(world.db, serverId, { task_state: "image_snapshot_pending" });
  const [device] = await world.devices(serverId);
  assert.ok(device?.disk_id);
  const imageId = await world.sagas.addQueuedImage(format);
  const guest: CaptureFacts["guest"] = vmState === "active" ? "running" : vmState === "stopped" ? "off" : vmState;
  const ways = await new Materialise(world.sagas.services).planCapture({ subject: { kind: "server", id: serverId }, disk: diskId(device.disk_id), form: { diskFormat: format }, guest, only });
  const disk = { target: "vda", deviceId: device.id, volumeId: null, ways, becomes: { kind: "image", id: imageId } as const, viewId: randomUUID() };
  return { serverId, imageId, disks: [disk], hasAgent: agent, requiresQuiesce: false, runs: vmState === "active" || vmState === "paused" };
}

async function assertAsBefore(world: ServerWorld, { serverId }: CaptureServer, vmState: NonNullable<Case["vmState"]>): Promise<void> {
  await world.assertState(serverId, vmState);
  const guest = world.host.get(serverId);
  assert.deepEqual([guest.state, guest.frozen], [GUEST[vmState], false]);
  assert.deepEqual([guest.backup, [...guest.mirrors.keys()]], [undefined, []]);
  await assert.rejects(access(captureFolder(world.sagas.services.limits.servers.dir, serverId)));
  const [device] = await world.devices(serverId);
  assert.ok((await world.sagas.content(device?.disk_id, MiB)).equals(root));
  await world.sagas.assertAuditClean();
}

async function assertImage(world: ServerWorld, { imageId }: { readonly imageId: string }, format: string): Promise<void> {
  const image = await world.sagas.image(imageId);
  assert.deepEqual([image?.status, image?.virtual_size_bytes], ["active", SIZE_BYTES]);
  if (format === "raw") assert.ok((await world.sagas.content(image?.disk_id, MiB)).equals(root));
  assert.ok(image?.hash_value ?? (await world.sagas.settle().then(() => world.sagas.image(imageId)))?.hash_value, "it has a hash");
}

/** In the sweep: one under which the guest runs on, and one that stops it. */
const SWEPT: readonly (Case & { readonly name: string })[] = [
  { name: "by a backup job", only: "backup_job" },
  { name: "cold", only: "cold" },
];

for (const { name, ...given } of SWEPT) {
  const vmState = given.vmState ?? "active";
  sagaContract(`captureServer ${name}`, captureServer, async () => {
    const world = await ServerWorld.open();
    const params = await prepare(world, given);
    return {
      context: world.context(params),
      async assertDone() {
        await assertImage(world, params, given.format ?? "raw");
        await assertAsBefore(world, params, vmState);
      },
      async assertClean() {
        assert.equal(await world.sagas.image(params.imageId), undefined);
        await assertAsBefore(world, params, vmState);
      },
      isShown: async () => (await world.sagas.image(params.imageId))?.status === "active",
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    };
  });
}

const OTHERS: readonly (Case & { readonly name: string })[] = [
  { name: "by a live mirror, as qcow2", only: "live_mirror", format: "qcow2" },
  { name: "that is stopped", vmState: "stopped" },
  { name: "of a paused one by a backup job", only: "backup_job", vmState: "paused" },
  { name: "of a paused one, cold", only: "cold", vmState: "paused", agent: false },
  { name: "that is stopped, as qcow2", vmState: "stopped", format: "qcow2" },
  { name: "that is suspended", vmState: "suspended" },
];

describe("captureServer", () => {
  for (const { name, ...given } of OTHERS) {
    it(`makes an image of a server ${name}`, async () => {
      await using world = await ServerWorld.open();
      const params = await prepare(world, given);
      await world.run(captureServer, params);
      await assertImage(world, params, given.format ?? "raw");
      await assertAsBefore(world, params, given.vmState ?? "active");
    });
  }

  for (const only of ["backup_job", "live_mirror", "cold"] as const) {
    it(`says what was kept aside for an image by ${only}`, async () => {
      await using world = await ServerWorld.open();
      const { actual } = await world.run(captureServer, await prepare(world, { only }));
      const { bytesRead, bytesTemporary } = JSON.parse(actual ?? "{}");
      assert.ok(only === "cold" ? bytesTemporary === 0 : bytesTemporary > 0 && bytesTemporary <= 2 * bytesRead, `${bytesTemporary} of ${bytesRead}`);
    });
  }

  it("reads the disk at rest where its guest has ended by itself before it was its turn", async () => {
    await using world = await ServerWorld.open();
    const params = await prepare(world);
    await world.sagas.services.hypervisor.destroy(params.serverId);
    const { actual } = await world.run(captureServer, params);
    const { methods, level, because } = JSON.parse(actual ?? "{}").capture;
    assert.deepEqual([methods, level, because], [{ vda: "cold" }, "crash", "the guest had not shut down by itself"]);
    await assertImage(world, params, "raw");
    await assertAsBefore(world, params, "stopped");
  });

  it("takes the next method where one breaks, and says so", async () => {
    await using world = await ServerWorld.open();
    const params = await prepare(world);
    world.host.hooks.before = (method) => {
      if (method === "beginBackup") throw new AppError("not_supported", "this QEMU has no such job");
    };
    const { actual } = await world.run(captureServer, params);
    assert.deepEqual(JSON.parse(actual ?? "{}").capture.methods, { vda: "live_mirror" });
    assert.match(actual ?? "", /this QEMU has no such job/);
    await assertImage(world, params, "raw");
    await assertAsBefore(world, params, "active");
  });

  it("shows what is being done, step by step, in Nova's words", async () => {
    for (const [backup, begins] of [[undefined, ["image_snapshot_pending", "image_snapshot"]], [{ type: "daily", rotation: 1 }, ["image_backup"]]] as const) {
      await using world = await ServerWorld.open();
      const params = { ...(await prepare(world)), backup };
      await updateServer(world.db, params.serverId, { task_state: begins[0] });
      const seen: (string | null | undefined)[] = [];
      const look = async () => void seen.push((await world.server(params.serverId))?.task_state);
      await look();
      const context = world.context(params);
      for (const step of captureServer.steps) await step.run(context, { signal: new AbortController().signal, progress() {} }).then(look);
      assert.deepEqual([...new Set(seen)], [...begins, "image_pending_upload", "image_uploading", null]);
    }
  });

  it("ends where its image is deleted meanwhile", async () => {
    await using world = await ServerWorld.open({ mirrorStallMsMax: 3_600_000 });
    const params = await prepare(world, { only: "live_mirror" });
    world.host.get(params.serverId).outruns = true; // The mirror would go on for an hour.
    const copies = Promise.withResolvers<void>();
    world.host.hooks.before = (method) => method === "mirrorDisk" && copies.resolve();
    const capture = world.run(captureServer, params);
    await copies.promise;
    await world.db.transaction().execute((trx) => forgetImage(trx, params.imageId));
    await runSaga(deleteImage, world.sagas.context({ imageId: params.imageId, diskId: null }), new MemoryJournal());
    assert.equal((await capture).state, "undone");
    await assertAsBefore(world, params, "active");
  });

  it("ends a mirror that comes no closer, and takes the next method, or fails with the reason", async () => {
    for (const only of [undefined, "live_mirror"] as const) {
      await using world = await ServerWorld.open({ mirrorStallMsMax: 50 });
      const params = await prepare(world, { only });
      const [disk] = params.disks;
      const ways = disk?.ways.filter(({ capture }) => capture?.method !== "backup_job") ?? [];
      world.host.get(params.serverId).outruns = true;
      const { actual, error_message: because } = await world.run(captureServer, { ...params, disks: params.disks.map((one) => ({ ...one, ways })) });
      assert.equal(JSON.parse(actual ?? "{}").capture.methods.vda, only ?? "cold");
      assert.match(only ? (because ?? "") : (actual ?? ""), /writes faster than disk vda is copied/);
      await assertAsBefore(world, params, "active");
      assert.equal((await world.sagas.image(params.imageId))?.status, only ? undefined : "active");
    }
  });

  it("keeps the image, and settles its server, where what follows breaks", async () => {
    await using world = await ServerWorld.open();
    const params = await prepare(world, { only: "live_mirror" });
    world.host.hooks.before = (method) => {
      if (method === "listCheckpoints") throw new Error("a defect");
    };
    assert.equal((await world.run(captureServer, params)).state, "done");
    await assertImage(world, params, "raw");
    await assertAsBefore(world, params, "active");
  });

  for (const vmState of ["active", "paused"] as const) {
    it(`lets a guest go that was held when the process ended, and leaves it ${vmState}`, async () => {
      await using world = await ServerWorld.open();
      const params = await prepare(world, { vmState });
      const { hypervisor } = world.sagas.services;
      world.host.get(params.serverId).frozen = vmState === "active";
      if (vmState === "active") await hypervisor.pause(params.serverId);
      await updateServer(world.db, params.serverId, { vm_state: "paused" }); // As whoever follows guests says, of a volume's capture.
      const context = world.context(params);
      await context.report({ capture: { methods: { vda: "backup_job" }, freezesGuest: vmState === "active", stopsGuest: vmState === "active" } });
      assert.deepEqual(await runSaga(captureServer, context, new MemoryJournal()), { ended: "done" });
      await assertAsBefore(world, params, vmState);
    });
  }

  it("lets a guest go that was frozen when the process ended as soon as its agent is there again", async (t) => {
    await using world = await ServerWorld.open();
    const params = await prepare(world);
    const { hypervisor } = world.sagas.services;
    const guest = world.host.get(params.serverId);
    guest.frozen = true;
    const stat = hypervisor.stat.bind(hypervisor);
    const away = t.mock.method(hypervisor, "stat", async (...how: Parameters<typeof stat>) => {
      const found = await stat(...how);
      return found && { ...found, agentConnected: false };
    });
    world.host.hooks.before = (method) => {
      if (method === "thaw") throw new AppError("agent_unavailable", "the agent starts anew");
    };
    const context = world.context(params);
    await context.report({ capture: { methods: { vda: "backup_job" }, freezesGuest: true } });
    assert.deepEqual(await runSaga(captureServer, context, new MemoryJournal()), { ended: "done" });
    assert.ok(guest.frozen);
    away.mock.restore();
    delete world.host.hooks.before;
    await world.sagas.settle();
    await assertAsBefore(world, params, "active");
  });

  it("has on record that a guest is frozen before its agent is told to, and asks an agent once that does not thaw it: the rest is another's", async () => {
    await using world = await ServerWorld.open();
    const params = { ...(await prepare(world)), requiresQuiesce: true };
    const context = world.context(params);
    const noted: unknown[] = [];
    world.host.hooks.before = (method) => {
      if (method === "freeze") noted.push(context.actual.capture?.freezesGuest);
      if (method === "freeze" || method === "thaw") throw new AppError("agent_unavailable", "the agent does not answer");
    };
    const { ended } = await runSaga(captureServer, context, new MemoryJournal());
    delete world.host.hooks.before;
    assert.equal(ended, "undone");
    assert.deepEqual([noted, context.actual.capture?.freezesGuest], [[true], false]);
    const asking = await world.db.selectFrom("operation").select("id").where("saga", "=", "thaw-server").execute();
    assert.equal(asking.length, 1);
    await world.sagas.settle();
    await assertAsBefore(world, params, "active");
  });

  it("fails where a freeze is required and the guest was paused meanwhile", async () => {
    await using world = await ServerWorld.open();
    const params = { ...(await prepare(world, { vmState: "paused" })), requiresQuiesce: true };
    const operation = await world.run(captureServer, params);
    assert.match(operation.error_message ?? "", /os_require_quiesce: the guest was paused/);
    await assertAsBefore(world, params, "paused");
    assert.equal(await world.sagas.image(params.imageId), undefined);
  });

  it("fails where a freeze is required and its agent does not answer, and thaws it when it does", async () => {
    await using world = await ServerWorld.open();
    const params = { ...(await prepare(world)), requiresQuiesce: true };
    Object.assign(world.sagas.services.limits.servers, { freezeMsMax: 50 });
    world.host.get(params.serverId).agentHangs = true;
    const operation = await world.run(captureServer, params);
    assert.match(operation.error_message ?? "", /could not be frozen, and its image says os_require_quiesce/);
    world.host.get(params.serverId).frozen = true; // It took the command late.
    world.host.get(params.serverId).agentHangs = false;
    await world.sagas.settle();
    await assertAsBefore(world, params, "active");
    assert.equal(await world.sagas.image(params.imageId), undefined);
  });
});
