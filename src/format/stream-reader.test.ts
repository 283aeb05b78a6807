import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { KiB } from "#/lib/units.ts";
import { type End, HEAD_BYTES, read, readEnd, type Reading, TAIL_BYTES, WISH_MAX_BYTES } from "./reading.ts";
import { Head, StreamReader, Tail } from "./stream-reader.ts";

type Place = readonly [offset: number, length: number];
/** Bytes by their count and checksum, since the difference of two long arrays takes minutes to print. */
type Answer = string | undefined;

const answerOf = (bytes: Uint8Array | undefined): Answer => bytes && `${bytes.length} bytes, ${crc32(bytes).toString(16)}`;

/** A stream in which each place has its own bytes. */
function streamOf(sizeBytes: number): Uint8Array {
  return Uint8Array.from({ length: sizeBytes }, (_, at) => (at * 2_654_435_761) >>> 24);
}

/** The answers to these wishes, one after the other, from a stream in these pieces; a wish may be made at its end, too. */
function answersTo(wishes: readonly Place[], stream: Uint8Array, pieces: readonly number[], atEnd = false): readonly Answer[] {
  const answers: Answer[] = [];
  function* reading(): Reading {
    if (atEnd) yield* readEnd();
    for (const [offset, length] of wishes) answers.push(answerOf(yield* read(offset, length)));
  }
  const head = new Head();
  const reader = new StreamReader(reading(), head);
  let position = 0;
  const take = (untilBytes: number) => {
    const piece = stream.subarray(position, untilBytes);
    head.take(piece);
    reader.take(piece, position);
    position += piece.length;
    reader.advance(position);
  };
  for (const until of [...pieces, stream.length].sort((a, b) => a - b)) {
    while (position < Math.min(until, stream.length)) take(Math.min(until, stream.length, reader.dueAt));
  }
  reader.finish({ sizeBytes: stream.length, tail: new Uint8Array() });
  return answers;
}

/** The same by what reading.ts promises, with the whole stream at hand. */
function expectedOf(wishes: readonly Place[], stream: Uint8Array, atEnd = false): readonly Answer[] {
  let position = atEnd ? stream.length : 0;
  return wishes.map(([offset, length]) => {
    const kept = offset + length <= HEAD_BYTES || offset >= position || position <= HEAD_BYTES;
    if (kept) position = Math.min(stream.length, Math.max(position, offset + length));
    return kept ? answerOf(stream.subarray(offset, offset + length)) : undefined;
  });
}

const HEAD = HEAD_BYTES;
const stream = streamOf(200 * KiB);

const cases: readonly [name: string, wishes: readonly Place[], sizeBytes?: number][] = [
  [
    "bytes of the head, again and again",
    [
      [0, 512],
      [0, 512],
      [100, 8],
    ],
  ],
  [
    "bytes of the head when the stream is far beyond it",
    [
      [150 * KiB, 10],
      [8, 100],
    ],
  ],
  [
    "bytes that begin in the head, arrived in part, and end behind it",
    [
      [0, 60 * KiB],
      [50 * KiB, 20 * KiB],
    ],
  ],
  [
    "bytes that begin in the head and end behind it, when they went by",
    [
      [100 * KiB, 10],
      [50 * KiB, 20 * KiB],
    ],
  ],
  [
    "bytes that went by",
    [
      [100 * KiB, 10],
      [90 * KiB, 10],
      [120 * KiB, 10],
    ],
  ],
  [
    "bytes that went by in part",
    [
      [100 * KiB, 100],
      [100 * KiB + 50, 100],
    ],
  ],
  [
    "bytes that follow each other",
    [
      [HEAD, 1000],
      [HEAD + 1000, 1000],
    ],
  ],
  ["bytes that the stream has in part", [[199 * KiB, 10 * KiB]]],
  [
    "bytes behind the end",
    [
      [300 * KiB, 10],
      [199 * KiB, 10],
    ],
  ],
  ["bytes at the largest number", [[2 ** 64, WISH_MAX_BYTES]]],
  [
    "no bytes",
    [
      [0, 0],
      [HEAD, 0],
      [150 * KiB, 0],
    ],
  ],
  [
    "the bytes of a stream shorter than the head",
    [
      [10, 100],
      [50, 200],
    ],
    100,
  ],
  [
    "the bytes of an empty stream",
    [
      [0, 512],
      [HEAD, 10],
    ],
    0,
  ],
];

describe("StreamReader answers", () => {
  for (const [name, wishes, sizeBytes = stream.length] of cases) {
    const part = stream.subarray(0, sizeBytes);
    it(name, () => assert.deepEqual(answersTo(wishes, part, []), expectedOf(wishes, part)));
    it(`${name}, when asked at the end`, () => assert.deepEqual(answersTo(wishes, part, [], true), expectedOf(wishes, part, true)));
  }

  it("undefined, and not other bytes, for what went by", () => {
    assert.deepEqual(
      answersTo(
        [
          [100 * KiB, 10],
          [90 * KiB, 10],
        ],
        stream,
        [],
      ),
      [answerOf(stream.subarray(100 * KiB, 100 * KiB + 10)), undefined],
    );
  });

  it("any wishes as reading.ts promises, for every chunking", () => {
    const near = fc.oneof(fc.nat(200 * KiB), fc.integer({ min: HEAD - 600, max: HEAD + 600 }));
    const wish = fc.tuple(near, fc.oneof(fc.nat(1000), fc.constant(WISH_MAX_BYTES)));
    fc.assert(
      fc.property(
        fc.array(wish, { maxLength: 8 }),
        fc.array(near, { maxLength: 20 }),
        near,
        fc.boolean(),
        (wishes, pieces, sizeBytes, atEnd) => {
          const part = stream.subarray(0, sizeBytes);
          assert.deepEqual(answersTo(wishes, part, pieces, atEnd), expectedOf(wishes, part, atEnd));
        },
      ),
      { numRuns: 500 },
    );
  });

  it("no wish above its limit", () => {
    assert.throws(() => answersTo([[0, WISH_MAX_BYTES + 1]], stream, []), /Broken invariant/);
  });

  it("the end with what it is given", () => {
    const end: End = { sizeBytes: 7, tail: streamOf(7) };
    let answer: End | undefined;
    function* reading(): Reading {
      answer = yield* readEnd();
    }
    new StreamReader(reading(), new Head()).finish(end);
    assert.equal(answer, end);
  });
});

describe("Tail", () => {
  it("has the last bytes, for every chunking", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.nat(700), fc.constantFrom(0, 1, 512, TAIL_BYTES - 1, TAIL_BYTES, TAIL_BYTES + 1, 5000)), { maxLength: 40 }),
        (lengths) => {
          const tail = new Tail();
          let position = 0;
          for (const length of lengths) {
            const chunk = stream.subarray(position, position + length);
            tail.take(chunk);
            position += chunk.length;
            assert.equal(answerOf(tail.bytes), answerOf(stream.subarray(Math.max(0, position - TAIL_BYTES), position)));
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
