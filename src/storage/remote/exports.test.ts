import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { describe, it } from "node:test";
import { AppError } from "#/domain/errors.ts";
import { MiB } from "#/lib/units.ts";
import { dense } from "#/storage/contract/bench.ts";
import type { ByteRange } from "#/storage/driver.ts";
import { RemoteExports } from "#/storage/remote/exports.ts";
import { filesOf } from "#/tools/qemu-img.ts";
import { readNode } from "#/storage/read-ahead.ts";

/** Bytes that can be fetched, but for the first `failures` times. */
function flaky(bytes: Uint8Array, failures: number) {
  const asked: ByteRange[] = [];
  async function* fetch(range: ByteRange) {
    asked.push(range);
    if (asked.length <= failures) throw new AppError("pool_unavailable", "the server is away");
    yield bytes.subarray(range.start, range.end);
  }
  return { asked, open: async () => ({ sizeBytes: bytes.length, fetch }) };
}

async function shown(exports: RemoteExports, remote: ReturnType<typeof flaky>, sizeBytes: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  const node = await exports.node("disk", "raw", remote.open);
  for await (const part of readNode(node, { start: 0, end: sizeBytes })) parts.push(part.slice());
  return Buffer.concat(parts);
}

describe("RemoteExports", () => {
  it("asks again for what a server did not give at once, and only for that", async () => {
    await using exports = new RemoteExports(() => {});
    const bytes = dense(3 * MiB, 1);
    const remote = flaky(bytes, 2);
    assert.equal(Buffer.compare(await shown(exports, remote, 3 * MiB), bytes), 0);
    assert.ok(remote.asked.length >= 5 && remote.asked.length <= 6, `${remote.asked.length} requests for 3 MiB`);
  });

  it("tells QEMU of a server that stays away, and us why", async () => {
    const heard: unknown[] = [];
    await using exports = new RemoteExports((error) => heard.push(error));
    await assert.rejects(shown(exports, flaky(dense(MiB, 1), 1000), MiB));
    assert.match(String(heard[0]), /the server is away/);
  });

  it("leaves no socket behind", async () => {
    const exports = new RemoteExports(() => {});
    const [socket = ""] = filesOf(await exports.node("disk", "raw", flaky(dense(MiB, 1), 0).open));
    assert.ok(existsSync(socket));
    await exports[Symbol.asyncDispose]();
    assert.ok(!existsSync(dirname(socket)));
  });
});
