import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { KiB, MiB } from "#/lib/units.ts";
import { converted, created, edited, guestDisk, inspect, putText, rulesOf, stored } from "../../test/support/disk-images.ts";
import { isoImage, withGpt, withGptHeader, withMbr } from "../../test/support/plain-disks.ts";
import { earlyRefusal, refusal, RETAINED_MAX_BYTES, StreamInspector } from "./inspect.ts";

const LUKS = ["--object", "secret,id=key,data=0123456789", "-o", "key-secret=key,iter-time=10"];
const raw = guestDisk();
const contents = {
  raw,
  iso: isoImage(),
  luks: created("luks", LUKS, "1M"),
  qcow2: converted("qcow2"),
  vmdk: converted("vmdk"),
  vhd: converted("vpc", ["subformat=fixed"]),
  vhdx: converted("vhdx"),
  vdi: converted("vdi"),
};
const PLAIN = ["raw", "iso", "luks"];

describe("refusal()", () => {
  for (const [format, bytes] of Object.entries(contents)) {
    for (const claim of Object.keys(contents)) {
      const fits = claim === format || (claim === "raw" && PLAIN.includes(format));
      it(`${fits ? "takes" : "does not take"} ${format} as ${claim}`, () => {
        const error = refusal(inspect(bytes), claim);
        assert.equal(error?.code, fits ? undefined : "image_format_mismatch");
        if (error) assert.ok(error.message.endsWith(`its content is ${format}. Set disk_format to ${format}.`), error.message);
      });
    }
  }

  for (const claim of ["ami", "ari", "aki"]) {
    it(`takes plain bytes as ${claim}, and no container`, () => {
      assert.equal(refusal(inspect(raw), claim), undefined);
      assert.equal(refusal(inspect(contents.qcow2), claim)?.code, "image_format_mismatch");
    });
  }

  for (const claim of ["ploop", "qed", "", "constructor", "__proto__"]) {
    it(`does not support ${JSON.stringify(claim)}`, () => {
      const error = refusal(inspect(raw), claim);
      assert.equal(error?.code, "unsupported_media");
      assert.match(error.message, /Use one of raw, .*qcow2/);
    });
  }

  it("names what is unsafe rather than the other format", () => {
    const error = refusal(inspect(created("qcow2", ["-b", stored(contents.qcow2), "-F", "qcow2"])), "raw");
    assert.equal(error?.code, "image_unsafe");
    assert.match(error.message, /^Cannot take the image as raw: The image names a backing file: flatten it/);
  });

  it("refuses qed under every name", () => {
    const qed = converted("qed");
    for (const claim of Object.keys(contents)) assert.equal(refusal(inspect(qed), claim)?.code, "image_unsafe", claim);
  });

  it("takes a hybrid ISO image as raw, whatever its partition table lacks", () => {
    const hybrid = withGptHeader(isoImage());
    assert.equal(refusal(inspect(hybrid), "raw"), undefined);
    assert.equal(refusal(inspect(hybrid), "iso"), undefined);
  });

  it("takes an ISO image that is cut off as raw, but not as iso", () => {
    const cut = inspect(isoImage(MiB, 4 * MiB));
    assert.equal(refusal(cut, "raw"), undefined);
    assert.equal(refusal(cut, "iso")?.code, "image_unsafe");
  });

  it("refuses a GPT without its boot record as raw only", () => {
    const inspection = inspect(withGptHeader(raw));
    assert.equal(refusal(inspection, "raw")?.code, "image_unsafe");
    assert.equal(refusal(inspection, "qcow2")?.code, "image_format_mismatch");
  });
});

describe("StreamInspector refuses two formats in one file:", () => {
  const footer = contents.vhd.subarray(-512);
  const asIso = (bytes: Uint8Array) =>
    edited(Buffer.concat([bytes, new Uint8Array(Math.max(0, MiB - bytes.length))]), (_, copy) =>
      copy.set(isoImage().subarray(32 * KiB, 40 * KiB), 32 * KiB),
    );
  const asVdi = (bytes: Uint8Array) => edited(bytes, (view) => view.setUint32(64, 0xbeda107f, true));

  for (const format of ["qcow2", "vmdk", "vhdx", "vdi", "luks"] as const) {
    it(`${format} and ISO 9660`, () => assert.ok(rulesOf(asIso(contents[format])).includes("polyglot")));
    it(`${format} and the footer of a VHD`, () => assert.ok(rulesOf(Buffer.concat([contents[format], footer])).includes("polyglot")));
  }

  for (const format of ["qcow2", "vmdk", "vhdx", "luks"] as const) {
    it(`${format} and VDI`, () => assert.ok(rulesOf(asVdi(contents[format])).includes("polyglot")));
  }

  it("a descriptor of a VMDK and ISO 9660", () => {
    assert.ok(rulesOf(edited(isoImage(), (_, copy) => putText(copy, 0, "# Disk DescriptorFile\n"))).includes("polyglot"));
  });

  it("qed and ISO 9660", () => assert.ok(rulesOf(edited(isoImage(), (_, copy) => putText(copy, 0, "QED\0"))).includes("polyglot")));

  it("and says so in words", () => {
    const error = refusal(inspect(asIso(contents.qcow2)), "qcow2");
    assert.equal(error?.code, "image_unsafe");
    assert.match(error.message, /The content is qcow2 and iso at once/);
  });
});

describe("StreamInspector", () => {
  it("keeps nothing of the buffers that it is given", () => {
    const inspector = new StreamInspector();
    const buffer = new Uint8Array(10_000);
    for (let at = 0; at < contents.vhdx.length; at += buffer.length) {
      const chunk = buffer.subarray(0, Math.min(buffer.length, contents.vhdx.length - at));
      chunk.set(contents.vhdx.subarray(at, at + chunk.length));
      inspector.update(chunk);
      buffer.fill(0xff);
    }
    assert.deepEqual(inspector.finish(), inspect(contents.vhdx));
  });

  it("answers the same when asked again, and takes no more bytes then", () => {
    const inspector = new StreamInspector();
    inspector.update(contents.qcow2);
    assert.equal(inspector.finish(), inspector.finish());
    assert.throws(() => inspector.update(raw), /Broken invariant/);
  });

  it("keeps less than its limit of every format, whatever the place in the stream", () => {
    for (const [format, bytes] of Object.entries(contents)) {
      const inspector = new StreamInspector();
      for (let at = 0; at < bytes.length; at += 4 * KiB) {
        inspector.update(bytes.subarray(at, at + 4 * KiB));
        assert.ok(inspector.retainedBytes <= RETAINED_MAX_BYTES, `${format}: ${inspector.retainedBytes}`);
      }
    }
  });
});

/** The error after each chunk, and at which byte it came. */
function earlyAt(bytes: Uint8Array, claim: string, chunkBytes = 512): { atBytes: number; code: string } | undefined {
  const inspector = new StreamInspector();
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    inspector.update(bytes.subarray(at, at + chunkBytes));
    const error = earlyRefusal(inspector, claim);
    if (error) return { atBytes: at + chunkBytes, code: error.code };
  }
  return undefined;
}

describe("earlyRefusal()", () => {
  it("is silent for content that is taken, to the end", () => {
    for (const [format, bytes] of Object.entries(contents)) {
      assert.equal(earlyAt(bytes, format), undefined, format);
      if (PLAIN.includes(format)) assert.equal(earlyAt(bytes, "raw"), undefined, format);
    }
    assert.equal(earlyAt(withGptHeader(isoImage()), "raw"), undefined);
    assert.equal(earlyAt(withGpt(raw), "raw"), undefined);
    assert.equal(earlyAt(Buffer.concat([withGptHeader(contents.vhd.subarray(0, -512)), contents.vhd.subarray(-512)]), "vhd"), undefined);
  });

  const early: readonly [name: string, bytes: Uint8Array, claim: string, atBytes: number, code: string][] = [
    ["a backing file in the first sector", created("qcow2", ["-b", stored(contents.qcow2), "-F", "qcow2"]), "qcow2", 512, "image_unsafe"],
    ["a container that was claimed to be raw", contents.qcow2, "raw", 512, "image_format_mismatch"],
    ["one container that was claimed to be another", contents.vdi, "qcow2", 512, "image_format_mismatch"],
    ["bytes that were claimed to be a container", raw, "qcow2", 512, "image_format_mismatch"],
    ["bytes that were claimed to be an ISO image", raw, "iso", 34 * KiB, "image_format_mismatch"],
    ["two formats at once", edited(contents.qcow2, (_, copy) => putText(copy, 32 * KiB + 1, "CD001")), "qcow2", 34 * KiB, "image_unsafe"],
    ["a GPT without its boot record", withGptHeader(raw), "raw", 34 * KiB, "image_unsafe"],
    ["an unsupported disk_format", raw, "ploop", 512, "unsupported_media"],
    [
      "a parent in a descriptor",
      edited(contents.vmdk, (_, copy) => putText(copy, 512 + 600, "parentFileNameHint=")),
      "vmdk",
      512 + 10 * KiB,
      "image_unsafe",
    ],
  ];
  for (const [name, bytes, claim, atBytes, code] of early) {
    it(`refuses ${name} after ${atBytes} bytes`, () => assert.deepEqual(earlyAt(bytes, claim), { atBytes, code }));
  }

  it("waits with a VHD, which may show itself at the end", () => assert.equal(earlyAt(raw, "vhd"), undefined));

  it("and refusedEarly agree on what no disk_format can make good", () => {
    const inspector = new StreamInspector();
    inspector.update(converted("qed").subarray(0, 512));
    assert.equal(inspector.refusedEarly?.rule, "unsupported_kind");
    const fine = new StreamInspector();
    fine.update(withMbr(raw, { type: 0x83, startSector: 1, sectors: 1 }));
    assert.equal(fine.refusedEarly, undefined);
  });
});

describe("StreamInspector, for tables as large as a header can claim,", () => {
  const MiB_4 = 4 * MiB;
  const hostile: readonly [format: string, head: Uint8Array][] = [
    [
      "qcow2",
      edited(new Uint8Array(MiB_4).fill(0x5a), (view) => {
        [0x514649fb, 3, 0, 0, 0, 16, 0x4000, 0, 0, 0x3fffff, 0, 0x10000, 0, 0x10000, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 104].forEach(
          (word, index) => view.setUint32(index * 4, word),
        );
      }),
    ],
    [
      "vdi",
      edited(contents.vdi, (view) => {
        view.setUint32(384, 0x3fffffff, true);
        view.setBigUint64(368, 1n << 45n, true);
      }),
    ],
  ];
  for (const [format, head] of hostile) {
    it(`${format}: spends less CPU time on 256 MiB than their transfer could hide`, () => {
      const inspector = new StreamInspector();
      const dense = new Uint8Array(MiB_4).fill(0x5a);
      inspector.update(head);
      const begun = process.threadCpuUsage();
      for (let count = 0; count < 64; count++) inspector.update(dense);
      const { user, system } = process.threadCpuUsage(begun);
      assert.equal(inspector.finish().format, format);
      assert.ok((user + system) / 1000 < 100, `${(user + system) / 1000} ms`);
    });
  }
});
