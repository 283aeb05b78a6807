import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError, type ErrorCode } from "#/domain/errors.ts";
import { explain, isTaken, Lvm } from "#/tools/lvm.ts";
import { ToolFailure } from "#/tools/run.ts";

function failure(stderr: string): AppError {
  return new AppError("tool_failed", `Cannot run "lvcreate": exit status 5: ${stderr}`, { cause: new ToolFailure("exit status 5", 5, stderr) });
}

describe("Lvm", () => {
  it("names a volume's device as libdevmapper does: dashes doubled", () => {
    assert.equal(new Lvm("vg-1").device("mica-a-b"), "/dev/mapper/vg--1-mica--a--b");
  });
});

describe("explain()", () => {
  it("tells by LVM's words what a failure means", () => {
    const said: [string, ErrorCode][] = [
      ['Volume group "vg" has insufficient free space (384 extents): 25600 required.', "pool_full"],
      ["Cannot create new thin volume, free space in thin pool vg/pool reached threshold.", "pool_full"],
      ["Insufficient suitable allocatable extents for logical volume x: 10 more required", "pool_full"],
      ['Volume group "nope" not found\n  Cannot process volume group nope', "pool_unavailable"],
      ["WARNING: Running as a non-root user. Functionality may be unavailable.\n  /run/lock/lvm/V_vg:aux: open failed: Permission denied", "pool_unavailable"],
      ["Logical volume vg/mica-t in use.", "conflict"],
      ['Logical Volume "mica-a" already exists in volume group "vg"', "conflict"],
      ["Size is not a multiple of 512.", "tool_failed"],
    ];
    for (const [stderr, code] of said) {
      const explained = explain(failure(stderr));
      assert.ok(explained instanceof AppError && explained.code === code, stderr);
      assert.match(explained.message, /^Cannot run "lvcreate": exit status 5: /);
    }
    const late = new AppError("tool_timed_out", "x", { cause: new ToolFailure("not done", undefined, "Logical volume vg/x in use.") });
    assert.equal(explain(late), late);
  });

  it("says that LVM is not installed", () => {
    const missing = new AppError("tool_failed", "x", { cause: new ToolFailure("it could not be started (spawn lvs ENOENT)", undefined, "") });
    assert.equal((explain(missing) as AppError).code, "pool_unavailable");
  });
});

describe("isTaken()", () => {
  it("knows the name that is taken from other conflicts", () => {
    assert.equal(isTaken(explain(failure('Logical Volume "mica-a" already exists in volume group "vg"'))), true);
    assert.equal(isTaken(explain(failure("Logical volume vg/mica-t in use."))), false);
    assert.equal(isTaken(new AppError("conflict", "x")), false);
  });
});
