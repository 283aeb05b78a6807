import assert from "node:assert/strict";
import { mkdtemp, open, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { type BlockNode, rbdNode, remoteNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import { KiB, MiB, SECOND_MS } from "#/lib/units.ts";
import * as qemuImg from "#/tools/qemu-img.ts";
import { run } from "#/tools/run.ts";

const file = (filename: string): BlockNode => ({ driver: "file", filename });
const raw = (filename: string): BlockNode => ({ driver: "raw", file: file(filename) });
const qcow2 = (filename: string, backing: BlockNode | null = null): BlockNode => ({ driver: "qcow2", file: file(filename), backing });

const inCeph = rbdNode({
  pool: "p",
  namespace: "n",
  image: "i",
  conf: "/etc/a:b.conf",
  user: "u",
  settings: { rados_osd_op_timeout: "30", keyring: "/k" },
});

describe("convertArguments()", () => {
  const direct = { source: true, target: true };

  it("fills an existing node without looking for zeroes in it", () => {
    const args = qemuImg.convertArguments(qcow2("/p/a", raw("/p/b")), raw("/p/c,d"), direct);
    const source =
      'json:{"driver":"qcow2","file":{"driver":"file","filename":"/p/a"},"backing":{"driver":"raw","file":{"driver":"file","filename":"/p/b"}}}';
    assert.deepEqual(args, [
      ...["convert", "-p", "-t", "none", "-T", "none", "-W", "-n", "--target-is-zero", "--target-image-opts"],
      ...[source, "driver=raw,file.driver=file,file.filename=/p/c,,d"],
    ]);
  });

  it("names the format of a new file, and packs qcow2 with zstd", () => {
    const args = qemuImg.convertArguments(raw("/p/a"), { filename: "/p/b", format: "qcow2", clusters: "zstd" }, direct);
    assert.deepEqual(args.slice(7, 14), ["-c", "-m", "2", "-O", "qcow2", "-o", "compression_type=zstd"]);
    assert.equal(args.at(-1), "/p/b");
  });

  it("goes through the page cache where O_DIRECT is refused, and still writes all of it to stable storage", () => {
    const args = qemuImg.convertArguments(raw("/p/a"), raw("/p/b"), { source: false, target: false });
    assert.deepEqual(args.slice(2, 6), ["-t", "writeback", "-T", "writeback"]);
  });

  it("says how an image in Ceph is reached, with its time limits", () => {
    const into = qemuImg.convertArguments(raw("/p/a"), { driver: "raw", file: inCeph }, direct);
    assert.deepEqual(into.slice(7, 13), ["-n", "--target-is-zero", "-m", "16", "-O", "raw"]);
    assert.equal(into.at(-1), `json:${JSON.stringify({ driver: "raw", file: inCeph })}`);
    const anew = qemuImg.convertArguments(raw("/p/a"), { filename: inCeph, format: "qcow2" }, direct);
    assert.equal(anew.at(-1), "rbd:p/n/i:id=u:conf=/etc/a\\:b.conf:rados_osd_op_timeout=30:keyring=/k");
  });

  it("keeps the exact size in a vpc file", () => {
    const args = qemuImg.convertArguments(raw("/p/a"), { filename: "/p/b", format: "vpc" }, direct);
    assert.ok(args.includes("subformat=dynamic,force_size=on"));
  });
});

describe("createOverlayArguments()", () => {
  it("names the backing file's format and does not open it", () => {
    const overlay = { filename: "/p/o", virtualSizeBytes: 1024, backingFilename: "b.disk", backingFormat: "raw" } as const;
    const args = qemuImg.createOverlayArguments(overlay);
    assert.deepEqual(args, ["create", "-q", "-f", "qcow2", "-u", "-b", "b.disk", "-F", "raw", "/p/o", "1024"]);
  });
});

describe("filesOf()", () => {
  it("finds every file of a chain", () => {
    assert.deepEqual(qemuImg.filesOf(qcow2("/a", qcow2("/b", raw("/c")))), ["/a", "/b", "/c"]);
  });
});

describe("reachOf()", () => {
  it("lets a tool use the network only where a node is in Ceph, and then read its configuration and its key", () => {
    assert.deepEqual(qemuImg.reachOf([qcow2("/a", raw("/b"))]), { readable: ["/a", "/b"], network: false });
    const overlay: BlockNode = { driver: "qcow2", file: file("/a"), backing: { driver: "raw", file: inCeph } };
    assert.deepEqual(qemuImg.reachOf([overlay]), { readable: ["/a", "/etc/a:b.conf", "/k"], network: true });
  });
});

describe("objectArguments()", () => {
  it("brings along the certificates that nodes on other hosts need, each folder once, whatever it is called", () => {
    const far = (tlsDir: string) => remoteNode({ host: "b", port: 10809, export: "disk", tlsDir });
    assert.deepEqual(qemuImg.objectArguments([raw("/a")]), []);
    const both = qemuImg.objectArguments([far("/etc/tls, überall"), qcow2("/a", far("/etc/tls, überall"))]);
    assert.deepEqual(both, ["--object", "tls-creds-x509,id=tls-2f6574632f746c732c20c3bc626572616c6c,endpoint=client,verify-peer=on,dir=/etc/tls,, überall"]);
    assert.deepEqual(qemuImg.reachOf([far("/etc/tls, überall")]), { readable: ["/etc/tls, überall"], network: true });
  });
});

describe("qemu-img", () => {
  for (const format of ["qcow2", "vmdk", "vpc", "vhdx", "vdi"] as const) {
    it(`converts raw to ${format} and back without a change`, async () => {
      await using folder = await temporaryFolder();
      const [source, packed, back] = [folder.file("source"), folder.file("packed"), folder.file("back")];
      await makeDisk(source, 8 * MiB);
      await writeFile(packed, "");
      await qemuImg.convert(raw(source), { filename: packed, format });
      await makeBlank(back, 8 * MiB);
      await qemuImg.convert({ driver: format, file: file(packed) }, raw(back));
      await assertSameContent(source, back);
    });
  }

  it("converts through a backing chain, and reports progress", async () => {
    await using folder = await temporaryFolder();
    const [base, top, flat] = [folder.file("base"), folder.file("top"), folder.file("flat")];
    await makeDisk(base, 8 * MiB);
    await qemuImg.createOverlay({ filename: top, virtualSizeBytes: 16 * MiB, backingFilename: "base", backingFormat: "raw" });
    await makeBlank(flat, 16 * MiB);
    const seen: number[] = [];
    await qemuImg.convert(qcow2(top, raw(base)), raw(flat), { onProgress: (fraction) => seen.push(fraction) });
    await truncate(base, 16 * MiB);
    await assertSameContent(base, flat);
    assert.equal(seen.at(-1), 1);
    assert.ok(seen.every((fraction, i) => fraction >= (seen[i - 1] ?? 0)));
  });

  it("does not follow the backing file that a header names", async () => {
    await using folder = await temporaryFolder();
    const [secret, evil, out] = [folder.file("secret"), folder.file("evil"), folder.file("out")];
    await makeDisk(secret, MiB);
    await qemuImg.createOverlay({ filename: evil, virtualSizeBytes: MiB, backingFilename: secret, backingFormat: "raw" });
    await makeBlank(out, MiB);
    await qemuImg.convert(qcow2(evil), raw(out));
    assert.equal((await stat(out)).blocks, 0, "nothing was read from the file that the header names");
  });

  it("goes through the page cache where it must, whatever else its options are those of", async () => {
    const options = { source: {}, target: {}, onProgress: () => {} }; // Of a conversion, as those who have one pass it on.
    const work = qemuImg.convert(raw("/nowhere/source"), { filename: "/nowhere/target", format: "vpc" }, options);
    await assert.rejects(work, /qemu-img convert -p -t writeback -T writeback/);
  });

  it("stops when it is cancelled", async () => {
    await using folder = await temporaryFolder();
    const [source, target] = [folder.file("source"), folder.file("target")];
    await makeDisk(source, 64 * MiB);
    await makeBlank(target, 64 * MiB);
    const work = qemuImg.convert(raw(source), raw(target), { signal: AbortSignal.timeout(15) });
    await assert.rejects(work, (error) => error instanceof AppError && error.code === "cancelled");
  });

  it("tells the size, the extents and the space that a disk needs", async () => {
    await using folder = await temporaryFolder();
    const disk = folder.file("disk");
    await makeDisk(disk, 8 * MiB);
    assert.deepEqual((await qemuImg.info(raw(disk))).virtualSizeBytes, 8 * MiB);
    const extents: qemuImg.Extent[] = [];
    await qemuImg.map(raw(disk), (extent) => extents.push(extent));
    assert.equal(
      extents.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0),
      8 * MiB,
    );
    assert.ok(extents.some(({ data }) => data) && extents.some(({ data }) => !data));
    assert.equal(await qemuImg.measure(raw(disk), "raw"), 8 * MiB);
    const packedBytes = await qemuImg.measure(raw(disk), "qcow2");
    assert.ok(packedBytes >= MiB && packedBytes < 3 * MiB, `${packedBytes} bytes`);
  });

  it("makes an overlay larger", async () => {
    await using folder = await temporaryFolder();
    const [base, top] = [folder.file("base"), folder.file("top")];
    await makeDisk(base, MiB);
    await qemuImg.createOverlay({ filename: top, virtualSizeBytes: MiB, backingFilename: "base", backingFormat: "raw" });
    await qemuImg.resize(qcow2(top, raw(base)), 5 * MiB);
    assert.equal((await qemuImg.info(qcow2(top, raw(base)))).virtualSizeBytes, 5 * MiB);
  });
});

/** A MiB of data after a MiB of hole, and a few bytes near the end. */
async function makeDisk(path: string, sizeBytes: number): Promise<void> {
  await makeBlank(path, sizeBytes);
  await using disk = await open(path, "r+");
  await disk.write(Buffer.alloc(Math.min(MiB, sizeBytes / 2), "mica"), 0, undefined, sizeBytes / 4);
  await disk.write(Buffer.alloc(4 * KiB, "end"), 0, undefined, sizeBytes - 4 * KiB);
}

async function makeBlank(path: string, sizeBytes: number): Promise<void> {
  await writeFile(path, "");
  await truncate(path, sizeBytes);
}

async function assertSameContent(a: string, b: string): Promise<void> {
  await run("cmp", [a, b], { timeoutMs: 10 * SECOND_MS });
}

async function temporaryFolder() {
  const path = await mkdtemp(join(tmpdir(), "mica-qemu-img-"));
  return { file: (name: string) => join(path, name), [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}
