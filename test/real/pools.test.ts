/** Pools while Mica runs, on file systems that come and go: one that is away says so, others go on, and it comes back by itself. Needs root. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import { after, describe, it } from "node:test";
import type { Handlers } from "#/cli/local.ts";
import { runCli } from "#/cli/program.ts";
import { Terminal } from "#/cli/terminal.ts";
import { MiB } from "#/lib/units.ts";
import { type RemovableFileSystem, mountNew } from "../support/file-systems.ts";
import { MicaProcess } from "../support/mica-process.ts";

await using mounts = new AsyncDisposableStack();
const xfs = mounts.use(await mountNew("xfs"));
const btrfs = mounts.use(await mountNew("btrfs"));
const ext4 = mounts.use(await mountNew("ext4"));
const kept = mounts.move();
after(() => kept.disposeAsync());

/** A pool that stays, in a folder of its own. */
let homes = 0;
const home = () => ({ name: "home", path: `${ext4.path}/${(homes += 1)}`, roles: ["images", "volumes"] });

/** A Mica with a pool at home and one on a file system that may go. */
async function startMica(away: RemovableFileSystem, name: string): Promise<MicaProcess> {
  const pools = [home(), { name, path: `${away.path}/${name}-${homes}`, roles: ["images", "volumes", "cache"] }];
  return MicaProcess.start({ env: { MICA_POOLS: JSON.stringify(pools) } });
}

interface Listed {
  readonly name: string;
  readonly state: string;
  readonly drained: boolean;
  readonly reason?: string;
  readonly disks: { readonly count: number };
}

const poolsOf = async (mica: MicaProcess): Promise<Listed[]> => (await mica.json("GET", "/mica/v1/pools")).pools;
const poolOf = async (mica: MicaProcess, name: string): Promise<Listed> => (await mica.json("GET", `/mica/v1/pools/${name}`)).pool;
const untilState = (mica: MicaProcess, name: string, state: string) => mica.until(() => poolOf(mica, name), (pool) => pool.state === state);

/** Makes a type that wants that pool, once. */
async function makeType(mica: MicaProcess, name: string, extra_specs: Record<string, string>): Promise<void> {
  await mica.json("POST", "/volume/v3/types", { body: { volume_type: { name, extra_specs } } });
}

async function makeVolume(mica: MicaProcess, volume: Record<string, unknown>): Promise<{ id: string; status: string; pool: string }> {
  const { volume: made } = await mica.json("POST", "/volume/v3/volumes", { body: { volume: { size: 1, ...volume } } });
  const look = async () => (await mica.json("GET", `/volume/v3/volumes/${made.id}`)).volume;
  const ended = await mica.until(look, ({ status }) => status !== "creating");
  return { id: made.id, status: ended.status, pool: String(ended["os-vol-host-attr:host"]).split("#")[1] ?? "" };
}

async function uploadImage(mica: MicaProcess, bytes: Uint8Array): Promise<string> {
  const { id } = await mica.json("POST", "/image/v2/images", { body: { name: "i", disk_format: "raw", container_format: "bare" } });
  await mica.json("PUT", `/image/v2/images/${id}/file`, { body: bytes, headers: { "content-type": "application/octet-stream" } });
  return id;
}

async function deleteVolume(mica: MicaProcess, id: string): Promise<void> {
  await mica.json("DELETE", `/volume/v3/volumes/${id}`);
  await mica.until(() => mica.ask("GET", `/volume/v3/volumes/${id}`), ({ status }) => status === 404);
}

async function cli(mica: MicaProcess, ...args: string[]) {
  const [out, err]: [string[], string[]] = [[], []];
  const handlers: Handlers = { serve: () => assert.fail("not here"), worker: () => assert.fail("not here"), audit: () => assert.fail("not here") };
  const terminal = new Terminal({ write: (text) => out.push(text) }, { write: (text) => err.push(text) }, {});
  const code = await runCli([...args, "--data-dir", mica.dataDir], handlers, terminal);
  return { code, out: out.join(""), err: err.join("") };
}

for (const [kind, fileSystem] of [
  ["xfs", xfs],
  ["btrfs", btrfs],
] as const) {
  describe(`a pool on ${kind} that goes away`, () => {
    it("says so, loses nothing, lets the others go on, and comes back without a restart", async () => {
      await using mica = await startMica(fileSystem, kind);
      await makeType(mica, "there", { volume_backend_name: kind });
      const before = await makeVolume(mica, { volume_type: "there" });
      assert.deepEqual([before.status, before.pool], ["available", kind]);

      await fileSystem.unmount();
      const down = await untilState(mica, kind, "down");
      assert.match(down.reason ?? "", /another folder than at the start|no such file|not the folder|ENOENT/);
      assert.equal(down.disks.count, 1);
      const refused = await mica.ask("POST", "/volume/v3/volumes", { body: { volume: { size: 1, volume_type: "there" } } });
      assert.equal(refused.status, 503);
      assert.match(await refused.text(), new RegExp(`No pool takes a volume of type .*there.* now: pool .*${kind}.* is down: `));
      const snapshot = { volume_id: before.id, name: "s" };
      for (const [method, path, body] of [
        ["POST", "/volume/v3/snapshots", { snapshot }],
        ["POST", `/volume/v3/volumes/${before.id}/action`, { "os-extend": { new_size: 2 } }],
        ["DELETE", `/volume/v3/volumes/${before.id}`, undefined],
      ] as const) {
        const fault = Object.values(await mica.json(method, path, { body, status: 503 }))[0] as { message: string };
        assert.match(fault.message, new RegExp(`pool "${kind}".*down: `, "i"), path);
      }
      assert.deepEqual((await makeVolume(mica, {})).pool, "home");
      assert.deepEqual(await readdir(fileSystem.path), [], "nothing was written where the pool is not");

      await fileSystem.mount();
      await untilState(mica, kind, "up");
      const clone = await makeVolume(mica, { source_volid: before.id, volume_type: "there" });
      assert.equal(clone.status, "available");
      const { code, output } = await mica.audit();
      assert.equal(code, 0, output);
    });

    it("keeps Mica from nothing when it is away at the start", async () => {
      await using mica = await startMica(fileSystem, kind);
      await makeType(mica, "there", { volume_backend_name: kind });
      const before = await makeVolume(mica, { volume_type: "there" });
      await mica.stop();
      await fileSystem.unmount();
      await mica.start();
      assert.deepEqual((await poolsOf(mica)).map(({ name, state, disks }) => [name, state, disks.count]), [["home", "up", 0], [kind, "down", 1]]);
      const { code, out } = await cli(mica, "pools");
      assert.equal(code, 0);
      assert.match(out, new RegExp(`${kind}\\s+file\\s+down[\\s\\S]*${kind}: .*(not the folder|ENOENT)`));
      assert.equal((await makeVolume(mica, {})).pool, "home");
      await fileSystem.mount();
      await untilState(mica, kind, "up");
      await deleteVolume(mica, before.id);
    });
  });
}

describe("pools that come and go", () => {
  it("are added, chosen, drained and removed from the command line, across restarts", async () => {
    await using mica = await MicaProcess.start({ env: { MICA_POOLS: JSON.stringify([home()]) } });
    const added = await cli(mica, "pool", "add", "name=fast", `path=${xfs.path}/fast`, "roles=volumes", "goodnessFunction=capabilities.clone == 'independent'");
    assert.deepEqual([added.code, added.err], [0, ""]);
    assert.match(added.out, /fast, added while Mica ran[\s\S]*Can\s+clone \(independent\).*dedup/);
    await mica.kill();
    await mica.start();

    const planned = await cli(mica, "plan", "blank", "volume", "--size", "1");
    assert.match(planned.out, /Pool\s+Pool "fast" has the highest goodness, 100/);
    assert.match(planned.out, /Not into\s+home: its goodness is 0, that of "fast" 100/);
    const volume = await makeVolume(mica, {});
    assert.equal(volume.pool, "fast");

    assert.match((await cli(mica, "pool", "drain", "fast")).out, /takes no new disks. It holds 1: they go on as before/);
    assert.equal((await makeVolume(mica, {})).pool, "home");
    await mica.stop();
    await mica.start();
    assert.match((await cli(mica, "plan", "blank", "volume", "--size", "1")).out, /Not into\s+fast: pool "fast" is drained: it takes no new disks/);
    await mica.json("POST", `/volume/v3/volumes/${volume.id}/action`, { body: { "os-extend": { new_size: 2 } } });
    const size = async () => (await mica.json("GET", `/volume/v3/volumes/${volume.id}`)).volume;
    assert.equal((await mica.until(size, ({ status }) => status === "available")).size, 2);

    const refused = await cli(mica, "pool", "remove", "fast");
    assert.deepEqual([refused.code, /holds 1 disk: 1 of volumes/.test(refused.err)], [1, true]);
    await deleteVolume(mica, volume.id);
    assert.equal((await cli(mica, "pool", "remove", "fast")).code, 0);
    assert.deepEqual((await poolsOf(mica)).map(({ name }) => name), ["home"]);
    const { code, output } = await mica.audit();
    assert.equal(code, 0, output);
  });

  it("say what is wrong with what is added", async () => {
    await using mica = await MicaProcess.start({ env: { MICA_POOLS: JSON.stringify([home()]) } });
    const wrong = await cli(mica, "pool", "add", "name=x", "colour=red");
    assert.deepEqual([wrong.code, /A pool has no "colour"/.test(wrong.err)], [2, true]);
    const taken = await cli(mica, "pool", "add", "name=home", "path=/x");
    assert.deepEqual([taken.code, /There is a pool "home" already/.test(taken.err)], [1, true]);
  });
});

describe("mica pool dedup", () => {
  it("gives back what volumes hold alike, survives a kill in the middle, and changes no content", async () => {
    const pools = [{ name: "pool", path: `${xfs.path}/dedup`, cloneDepthMax: 5 }];
    await using mica = await MicaProcess.start({ env: { MICA_POOLS: JSON.stringify(pools) } });
    const bytes = randomBytes(96 * MiB);
    const images = [await uploadImage(mica, bytes), await uploadImage(mica, bytes), await uploadImage(mica, bytes)];
    const { operation } = await mica.json("POST", "/mica/v1/pools/pool/dedup");
    const again = await mica.ask("POST", "/mica/v1/pools/pool/dedup");
    assert.ok(again.status === 409 || again.status === 202, "two at once are one too many");
    await mica.kill();
    await mica.start();
    const look = async () => (await mica.json("GET", `/mica/v1/operations/${operation.id}`)).operation;
    const ended = await mica.until(look, ({ endedAt }) => endedAt !== null);
    assert.equal(ended.state, "done");

    const { code, out } = await cli(mica, "pool", "dedup", "pool");
    assert.equal(code, 0);
    assert.match(out, /Shared\s+.* are kept once from now on[\s\S]*disks take 96 MiB, and would take 288 MiB if they shared nothing; they share 288 MiB/);
    for (const id of images) {
      const response = await mica.ask("GET", `/image/v2/images/${id}/file`);
      assert.equal(Buffer.compare(Buffer.from(await response.arrayBuffer()), bytes), 0);
    }
    const { code: audited, output } = await mica.audit();
    assert.equal(audited, 0, output);
  });

  it("can be cancelled", async () => {
    const pools = [{ name: "pool", path: `${btrfs.path}/cancelled`, bandwidthBytesPerSecondMax: 8 * MiB }];
    await using mica = await MicaProcess.start({ env: { MICA_POOLS: JSON.stringify(pools) } });
    const id = await uploadImage(mica, randomBytes(32 * MiB));
    const { operation } = await mica.json("POST", "/mica/v1/pools/pool/dedup");
    await mica.json("POST", `/mica/v1/operations/${operation.id}/cancel`);
    const look = async () => (await mica.json("GET", `/mica/v1/operations/${operation.id}`)).operation;
    assert.equal((await mica.until(look, ({ endedAt }) => endedAt !== null)).state, "undone");
    assert.equal((await mica.ask("GET", `/image/v2/images/${id}/file`)).status, 200);
  });

  it("is refused where the file system cannot", async () => {
    await using mica = await MicaProcess.start({ env: { MICA_POOLS: JSON.stringify([home()]) } });
    const { code, err } = await cli(mica, "pool", "dedup", "home");
    assert.deepEqual([code, /ext4 cannot be asked to share blocks between files: XFS and btrfs can/.test(err)], [1, true]);
  });
});
