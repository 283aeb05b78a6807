import assert from "node:assert/strict";
import { PassThrough, Writable } from "node:stream";
import { describe, it } from "node:test";
import { Conversation, DATA_BYTES_MAX, messageBytes } from "#/lib/conversation.ts";

/** Two sides, and what one of them reads, for bytes that no side of ours would send. */
function pair() {
  const [there, back] = [new PassThrough(), new PassThrough()];
  return { here: new Conversation({ input: back, output: there }), other: new Conversation({ input: there, output: back }), there };
}

describe("Conversation", () => {
  it("passes on messages, data and holes in their order", async () => {
    const { here, other } = pair();
    await here.say({});
    await here.sendData(Buffer.from("some bytes"), 2 ** 40);
    await here.sendHole(4096, 7);
    await here.say({ finish: 10 });
    here.end();
    assert.deepEqual(await other.next(), { kind: "message", value: {} });
    assert.deepEqual(await other.next(), { kind: "data", offset: 2 ** 40, lengthBytes: 10 });
    const bytes = Buffer.alloc(10);
    await other.take(bytes);
    assert.equal(bytes.toString(), "some bytes");
    assert.deepEqual(await other.next(), { kind: "hole", offset: 7, lengthBytes: 4096 });
    assert.deepEqual(await other.next(), { kind: "message", value: { finish: 10 } });
    assert.equal(await other.next(), undefined);
  });

  it("keeps signs of life to itself", async () => {
    const { here, other } = pair();
    await here.say({ alive: true });
    await here.say({ progress: 1 });
    assert.deepEqual(await other.next(), { kind: "message", value: { progress: 1 } });
    for (const side of [here, other]) side[Symbol.dispose]();
  });

  it("ends what is under way when the other side leaves", async () => {
    const { here, other, there } = pair();
    const waiting = assert.rejects(other.next());
    there.destroy();
    await waiting;
    await assert.rejects(here.say({ progress: 1 }), /it is gone/);
    for (const side of [here, other]) side[Symbol.dispose]();
  });

  it("takes the other side for gone when it is silent for too long", async () => {
    const [input, output] = [new PassThrough(), new PassThrough()];
    using here = new Conversation({ input, output, silenceMsMax: 20 });
    await assert.rejects(here.next(), /silent for 0\.02 s/);
  });

  it("waits no longer for a silent side to take what is being sent", async () => {
    const output = new Writable({ write: () => {} }); // Its window is full, and stays so.
    using here = new Conversation({ input: new PassThrough(), output, silenceMsMax: 20 });
    const sending = assert.rejects(here.sendData(Buffer.alloc(4096), 0), /it is gone/);
    await assert.rejects(here.next(), /silent for 0\.02 s/);
    await sending;
  });

  for (const [what, bytes] of Object.entries({
    "a kind that there is not": head(7, 0),
    "more data than may be": head(1, DATA_BYTES_MAX + 1),
    "a message without end": head(0, 2 ** 32 - 1),
    "an offset that is no number of bytes": head(1, 1, 2n ** 63n),
    "a message that is no object": Buffer.concat([head(0, 2), Buffer.from("[]")]),
    "a message that is no JSON": Buffer.concat([head(0, 2), Buffer.from("{'")]),
    "half of a message": messageBytes({ progress: 1 }).subarray(0, 20),
  })) {
    it(`refuses ${what}`, async () => {
      const { here, other, there } = pair();
      there.end(bytes);
      await assert.rejects(other.next());
      for (const side of [here, other]) side[Symbol.dispose]();
    });
  }
});

function head(kind: number, lengthBytes: number, offset = 0n): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(kind, 0);
  bytes.writeUInt32BE(lengthBytes, 4);
  bytes.writeBigUInt64BE(offset, 8);
  return bytes;
}
