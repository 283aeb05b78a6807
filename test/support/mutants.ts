import fc from "fast-check";
import { hex, latin1 } from "#/format/bytes.ts";
import { crc32c } from "#/format/crc32.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { converted, created, edited, withVmdkFooter } from "./disk-images.ts";
import { isoImage, withGpt } from "./plain-disks.ts";

/** Real images, spoilt at random where their formats keep something, for fuzzing. */
export interface Sample {
  readonly name: string;
  /** QEMU's name of the format. */
  readonly driver: string;
  readonly bytes: Uint8Array;
  /** Where headers and tables lie: [offset, length]. */
  readonly places: readonly (readonly [offset: number, length: number])[];
}

export function makeSamples(): readonly Sample[] {
  const fixed = converted("vpc", ["subformat=fixed,force_size=on"]);
  const dynamic = converted("vpc", ["force_size=on"]);
  const footed = withVmdkFooter(converted("vmdk", ["subformat=streamOptimized"]));
  const vhdx = [
    [0, 16],
    [64 * KiB, 80],
    [128 * KiB, 80],
    [192 * KiB, 80],
    [256 * KiB, 80],
    [2 * MiB, 24],
    [3 * MiB, 200],
    [3 * MiB + 64 * KiB, 40],
  ] as const;
  return [
    {
      name: "qcow2",
      driver: "qcow2",
      bytes: converted("qcow2", ["cluster_size=4k"]),
      places: [
        [0, 112],
        [112, 400],
        [3 * 4 * KiB, 16],
      ],
    },
    { name: "qcow2 version 2", driver: "qcow2", bytes: converted("qcow2", ["compat=0.10,cluster_size=4k"]), places: [[0, 120]] },
    {
      name: "vmdk",
      driver: "vmdk",
      bytes: converted("vmdk"),
      places: [
        [0, 80],
        [512, 500],
      ],
    },
    {
      name: "vmdk with a footer",
      driver: "vmdk",
      bytes: footed,
      places: [
        [0, 80],
        [512, 400],
        [footed.length - 1536, 1536],
      ],
    },
    {
      name: "vhd fixed",
      driver: "vpc",
      bytes: fixed,
      places: [
        [0, 16],
        [fixed.length - 512, 96],
      ],
    },
    {
      name: "vhd dynamic",
      driver: "vpc",
      bytes: dynamic,
      places: [
        [0, 96],
        [512, 100],
        [1536, 16],
        [dynamic.length - 512, 96],
      ],
    },
    { name: "vhdx", driver: "vhdx", bytes: converted("vhdx", ["block_size=1M"]), places: vhdx },
    {
      name: "vdi",
      driver: "vdi",
      bytes: converted("vdi"),
      places: [
        [64, 400],
        [512, 16],
      ],
    },
    {
      name: "luks",
      driver: "luks",
      bytes: created("luks", ["--object", "secret,id=key,data=0123456789", "-o", "key-secret=key,iter-time=10"], "64k"),
      places: [[0, 112]],
    },
    {
      name: "iso",
      driver: "raw",
      bytes: isoImage(128 * KiB),
      places: [
        [0, 16],
        [32 * KiB, 140],
        [34 * KiB, 8],
      ],
    },
    {
      name: "gpt",
      driver: "raw",
      bytes: withGpt(new Uint8Array(128 * KiB)),
      places: [
        [440, 72],
        [512, 92],
      ],
    },
  ];
}

/** Values at which parsers break: the ends of ranges, powers of two, and magics of other formats. */
const POINTED = [
  "00",
  "01",
  "02",
  "07",
  "ff",
  "80",
  "ffff",
  "0200",
  "7fffffff",
  "ffffffff",
  "00000001",
  "01000000",
  "ffffffffffffffff",
  "0000000000100000",
  "0000100000000000",
  "7fffffffffffffff",
  Buffer.from("QFI\xfb\0\0\0\x03", "latin1").toString("hex"),
  Buffer.from("KDMV\x01", "latin1").toString("hex"),
  Buffer.from("conectix").toString("hex"),
  Buffer.from("vhdxfile").toString("hex"),
  Buffer.from("CD001").toString("hex"),
  Buffer.from("\x7f\x10\xda\xbe", "latin1").toString("hex"),
  Buffer.from("DATA\0\0\0\x10").toString("hex"),
  Buffer.from('parentFileNameHint="').toString("hex"),
  Buffer.from(' FLAT "/x" 0\n').toString("hex"),
];

interface Mutation {
  readonly place: number;
  readonly at: number;
  readonly value: Uint8Array;
}

const mutation: fc.Arbitrary<Mutation> = fc.record({
  place: fc.nat(),
  at: fc.nat(),
  value: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 4 }),
    fc.constantFrom(...POINTED).map((hex) => new Uint8Array(Buffer.from(hex, "hex"))),
  ),
});

/** A mutant of one of the samples: some bytes changed, perhaps its checksums mended, perhaps its end cut off or doubled. */
export function mutantOf(samples: readonly Sample[], mutationsMax = 6): fc.Arbitrary<{ sample: Sample; bytes: Uint8Array }> {
  return fc
    .record({
      sample: fc.constantFrom(...samples),
      mutations: fc.array(mutation, { maxLength: mutationsMax }),
      mend: fc.boolean(),
      cut: fc.oneof({ weight: 6, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.nat() }),
      doubled: fc.oneof({ weight: 15, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
    })
    .map(({ sample, mutations, mend, cut, doubled }) => {
      const spoilt = edited(sample.bytes, (_, copy) => mutations.forEach((one) => mutate(copy, sample, one)));
      const whole = mend ? mended(spoilt) : spoilt;
      const ended = cut === undefined ? whole : whole.slice(0, cut % whole.length);
      const recipe = { sample: sample.name, mutations: mutations.map((one) => ({ ...one, value: hex(one.value) })), mend, cut, doubled };
      // A counterexample is shown by how it was made: its bytes would be megabytes of numbers.
      return {
        sample,
        bytes: doubled ? Buffer.concat([ended, ended.subarray(-4096)]) : ended,
        [fc.toStringMethod]: () => JSON.stringify(recipe),
      };
    });
}

function mutate(copy: Uint8Array, { places }: Sample, { place, at, value }: Mutation): void {
  const [offset, length] = places[place % places.length] ?? [0, 1];
  const start = offset + (at % length);
  copy.set(value.subarray(0, copy.length - start), start);
}

/** With the checksums that its format asks for, so that mutants get behind them. */
function mended(bytes: Uint8Array): Uint8Array {
  if (latin1(bytes.subarray(0, 8)) === "vhdxfile" && bytes.length > 320 * KiB) {
    return edited(bytes, (view, copy) =>
      [
        [64, 4],
        [128, 4],
        [192, 64],
        [256, 64],
      ].forEach(([at = 0, length = 0]) => mendCrc(view, copy, at * KiB, length * KiB)),
    );
  }
  const last = Math.max(0, bytes.length - 512);
  return edited(bytes, (view, copy) =>
    [
      [0, 512, 64],
      [512, 1024, 36],
      [last, 512, 64],
    ].forEach(([at = 0, length = 0, sumAt = 0]) => mendSum(view, copy, { at, length, sumAt })),
  );
}

function mendCrc(view: DataView, copy: Uint8Array, at: number, length: number): void {
  view.setUint32(at + 4, 0);
  view.setUint32(at + 4, crc32c(copy.subarray(at, at + length)), true);
}

/** The sum of a VHD's structure, where there is one. */
function mendSum(view: DataView, copy: Uint8Array, { at, length, sumAt }: { at: number; length: number; sumAt: number }): void {
  if (!["conectix", "cxsparse"].includes(latin1(copy.subarray(at, at + 8)))) return;
  view.setUint32(at + sumAt, 0);
  view.setUint32(at + sumAt, ~copy.subarray(at, at + length).reduce((sum, byte) => sum + byte, 0) >>> 0);
}
