import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** Looks at files that a command has left in its folder. */
export type FileCheck = (folder: string) => Promise<void>;

/** Both files have the same bytes. */
export function sameBytes(made: string, wanted: string): FileCheck {
  return async (folder) => {
    const [bytes, wantedBytes] = await Promise.all([made, wanted].map((name) => readFile(join(folder, name))));
    assert.ok(bytes && wantedBytes && bytes.equals(wantedBytes), `${made} has other bytes than ${wanted}`);
  };
}

/** What gunzip makes of the one file is the other disk to a guest. */
export function sameUnzipped(made: string, wanted: string): FileCheck {
  return async (folder) => {
    await execute("gunzip", ["--keep", "--force", made], { cwd: folder, timeout: 60_000 });
    await sameDisk(made.replace(/\.gz$/, ""), wanted)(folder);
  };
}

/** Both files, of whatever formats, are the same disk to a guest; what one has beyond the other's end is zeroes. */
export function sameDisk(made: string, wanted: string): FileCheck {
  return async (folder) => void (await execute("qemu-img", ["compare", "-q", made, wanted], { cwd: folder, timeout: 60_000 }));
}
