import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { ALIGNMENT_BYTES } from "#/lib/aligned-memory.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { content, dense } from "#/storage/contract/bench.ts";
import { allDone, atOnce, Outlet } from "#/transfer/outlet.ts";
import { SLOT_BYTES, Slots } from "#/transfer/slots.ts";

describe("Outlet", () => {
  it("sends every byte once at its place, however the chunks are cut, with zeroes left out where it may", async () => {
    const cut = fc.record({ cuts: fc.array(fc.integer({ min: 1, max: 3 * MiB }), { minLength: 1, maxLength: 12 }), sparse: fc.boolean(), seed: fc.nat(1000) });
    await fc.assert(
      fc.asyncProperty(cut, async ({ cuts, sparse, seed }) => {
        const bytes = content(9 * MiB + 777, seed);
        using slots = new Slots();
        const arrived = new Uint8Array(bytes.length);
        const out = new Outlet(slots, async (block, offset) => {
          assert.equal(offset % ALIGNMENT_BYTES, 0);
          assert.ok(block.length % ALIGNMENT_BYTES === 0 || offset + block.length === bytes.length);
          await nextTurn();
          arrived.set(block, offset);
        });
        for (let start = 0, i = 0; start < bytes.length; i++) {
          const chunk = bytes.subarray(start, start + (cuts[i % (cuts.length + 1)] ?? 300_001)); // Not all of them tiny.
          await (sparse ? out.writeSparse(chunk) : out.write(chunk));
          start += chunk.length;
        }
        await out.flush();
        assert.equal(Buffer.compare(arrived, bytes), 0);
      }),
      { numRuns: 25 },
    );
  });

  it("sends no zeroes that come as pages of their own", async () => {
    using slots = new Slots();
    const sent: number[][] = [];
    const out = new Outlet(slots, async (block, offset) => void sent.push([offset, block.length]));
    for (const chunk of [dense(8 * KiB, 1), new Uint8Array(64 * KiB), new Uint8Array(64 * KiB), dense(100, 2)]) await out.writeSparse(chunk);
    await out.flush();
    assert.deepEqual(sent, [[0, 8 * KiB], [136 * KiB, 100]]);
  });

  it("waits while all slots are in use", async () => {
    using slots = new Slots();
    const ends: (() => void)[] = [];
    const out = new Outlet(slots, () => new Promise<void>((resolve) => ends.push(resolve)));
    let written = 0;
    const writing = (async () => {
      for (; written < 10; written++) await out.write(new Uint8Array(SLOT_BYTES));
    })();
    const settle = async () => {
      for (let turn = 0; turn < 5; turn++) await nextTurn();
    };
    await settle();
    assert.equal(written, 6);
    ends.shift()?.();
    await settle();
    assert.equal(written, 7);
    while (written < 10) {
      ends.shift()?.();
      await nextTurn();
    }
    await writing;
    for (const end of ends) end();
    await out.flush();
  });

  it("gives way to other work, also where nothing ever waits", async () => {
    for (const chunk of [new Uint8Array(MiB), dense(MiB, 1)]) {
      using slots = new Slots();
      const out = new Outlet(slots, async () => {});
      let turns = 0;
      const counting = setImmediate(function count() {
        turns += 1;
        immediates.push(setImmediate(count));
      });
      const immediates = [counting];
      for (let i = 0; i < 160; i++) await out.writeSparse(chunk);
      for (const immediate of immediates) clearImmediate(immediate);
      assert.ok(turns >= 8, `${turns} turns in 160 MiB`);
      await out.flush();
    }
  });

  it("tells of a failed send at once, and in every later call", async () => {
    using slots = new Slots();
    const reason = new Error("broken");
    const heard: unknown[] = [];
    const out = new Outlet(slots, () => Promise.reject(reason), (error) => heard.push(error));
    await out.write(new Uint8Array(SLOT_BYTES));
    await nextTurn();
    assert.deepEqual(heard, [reason]);
    await assert.rejects(out.write(new Uint8Array(1)), reason);
    await assert.rejects(out.flush(), reason);
    await out.close();
  });

  it("close() waits until nobody uses a slot", async () => {
    using slots = new Slots();
    const end = Promise.withResolvers<void>();
    const out = new Outlet(slots, () => end.promise);
    await out.write(new Uint8Array(SLOT_BYTES));
    let closed = false;
    const closing = out.close().then(() => (closed = true));
    await nextTurn();
    assert.equal(closed, false);
    end.resolve();
    await closing;
  });
});

it("atOnce() calls a writer as often at once as it allows", async () => {
  let [running, most] = [0, 0];
  const write = atOnce({
    concurrency: 3,
    write: async () => {
      most = Math.max(most, ++running);
      await nextTurn();
      running -= 1;
    },
    finish: async () => {},
    abort: async () => {},
  });
  const block = new Uint8Array(new SharedArrayBuffer(1));
  await Promise.all(Array.from({ length: 10 }, () => write(block, 0)));
  assert.equal(most, 3);
});

it("allDone() throws only when all have ended", async () => {
  const slow = Promise.withResolvers<void>();
  let ended = false;
  const all = allDone([Promise.reject(new Error("first")), slow.promise]).finally(() => (ended = true));
  await nextTurn();
  assert.equal(ended, false);
  slow.resolve();
  await assert.rejects(all, /first/);
});
