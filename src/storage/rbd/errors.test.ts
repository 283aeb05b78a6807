import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError } from "#/domain/errors.ts";
import { asRbdError, unless } from "#/storage/rbd/errors.ts";
import { ToolFailure } from "#/tools/run.ts";

const DOING = { user: "volumes", pool: "volumes", sourcePool: "images" };

/** What `rbd` of Ceph 16.2 ends with. */
function failed(exitCode: number, stderr: string): AppError {
  return new AppError("tool_failed", `Cannot run "rbd …": exit status ${exitCode}: ${stderr}`, { cause: new ToolFailure("", exitCode, stderr) });
}

describe("asRbdError()", () => {
  const cases = [
    [1, "rbd: error opening image gi: (1) Operation not permitted", "pool_forbidden"],
    [13, "rbd: couldn't connect to the cluster! (13) Permission denied", "pool_forbidden"],
    [2, "rbd: error opening image nope: (2) No such file or directory", "disk_not_found"],
    [2, "rbd: error opening pool 'nopool': (2) No such file or directory", "pool_unavailable"],
    [2, "rbd: couldn't connect to the cluster!", "pool_unavailable"],
    [1, "unable to open config file from search list /nonexistent", "pool_unavailable"],
    [16, "rbd: error: image still has watchers", "conflict"],
    [39, "rbd: image has snapshots with linked clones", "conflict"],
    [28, "rbd: import failed: (28) No space left on device", "pool_full"],
    [110, "rbd: error opening image: (110) Connection timed out", "pool_unavailable"],
    [22, "rbd: clone error: (22) Invalid argument", "tool_failed"],
  ] as const;
  for (const [exitCode, said, code] of cases) {
    it(`makes ${code} of "${said}"`, () => {
      const error = asRbdError(failed(exitCode, said), DOING);
      assert.ok(error instanceof AppError);
      assert.equal(error.code, code);
    });
  }

  it("says who needs which rights where", () => {
    const error = asRbdError(failed(1, "(1) Operation not permitted"), DOING);
    assert.match(String(error), /client\.volumes may not do that; it needs .* mon 'profile rbd' and osd 'profile rbd pool=volumes, profile rbd-read-only pool=images'/);
  });

  it("makes a pool that does not answer of a call that took too long, and leaves all else as it is", () => {
    const late = asRbdError(new AppError("tool_timed_out", "not done after 60 s"), DOING);
    assert.ok(late instanceof AppError && late.code === "pool_unavailable");
    for (const error of [new AppError("cancelled", "it was cancelled"), new Error("a defect")]) assert.equal(asRbdError(error, DOING), error);
  });
});

describe("unless()", () => {
  it("takes the errors that say: it is done already", async () => {
    await unless([17], Promise.reject(failed(17, "")));
    await assert.rejects(unless([17], Promise.reject(failed(2, ""))));
    await assert.rejects(unless([17], Promise.reject(new Error("a defect"))), /a defect/);
  });
});
