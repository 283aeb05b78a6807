import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  CONTAINER_FORMATS,
  contentFormat,
  packedFormat,
  IMAGE_DISK_FORMATS,
  IMAGE_STATUSES,
  type ImageStatus,
  mayBecome,
  requireFormats,
} from "./image.ts";
import { DISK_FORMATS } from "./disk.ts";

describe("mayBecome()", () => {
  it("allows exactly Glance's transitions", () => {
    const allowed = IMAGE_STATUSES.flatMap((from) => IMAGE_STATUSES.filter((to) => mayBecome(from, to)).map((to) => `${from} → ${to}`));
    assert.deepEqual(allowed.toSorted(), GLANCE.toSorted());
  });
});

const to = (from: ImageStatus, ...states: ImageStatus[]) => states.map((state) => `${from} → ${state}`);
/** glance/domain/__init__.py `valid_state_targets`. */
const GLANCE = [
  ...to("queued", "saving", "uploading", "importing", "active", "deleted"),
  ...to("saving", "active", "killed", "deleted", "queued"),
  ...to("uploading", "importing", "queued", "deleted"),
  ...to("importing", "active", "deleted", "queued"),
  ...to("active", "pending_delete", "deleted", "deactivated"),
  ...to("deactivated", "active", "deleted"),
  ...to("pending_delete", "deleted", "active"),
  ...to("killed", "deleted"),
];

describe("packedFormat()", () => {
  it("is known of compressed images only", () => {
    for (const container of CONTAINER_FORMATS) {
      assert.equal(packedFormat("qcow2", container), container === "compressed" ? "qcow2" : undefined);
      assert.equal(packedFormat("ploop", container), undefined);
    }
    assert.equal(packedFormat("ami", "compressed"), "raw");
  });
});

describe("contentFormat()", () => {
  it("has an answer for every pair of formats, and hides what is wrapped from tools", () => {
    for (const disk of IMAGE_DISK_FORMATS) {
      for (const container of CONTAINER_FORMATS) assert(DISK_FORMATS.includes(contentFormat(disk, container)));
      for (const container of ["ova", "ovf", "docker", "compressed"] as const) assert.equal(contentFormat(disk, container), "opaque");
    }
    assert.equal(contentFormat("qcow2", "bare"), "qcow2");
    assert.equal(contentFormat("aki", "aki"), "raw");
  });
});

describe("requireFormats()", () => {
  it("names what is missing", () => {
    assert.throws(() => requireFormats({ diskFormat: null, containerFormat: null }), {
      message: "Properties disk_format, container_format must be set prior to saving data.",
    });
    assert.throws(() => requireFormats({ diskFormat: "raw", containerFormat: null }), { message: /^Properties container_format must/ });
    requireFormats({ diskFormat: "raw", containerFormat: "bare" });
  });
});
