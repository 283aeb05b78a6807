/**
 * Gathers src/ and the packages that it uses into a few files in .bundle/, which `bin/mica` runs while they are newer than
 * every source: about 2,000 modules take Node a second to find and read, these half of that. The sources stay what Mica is: without
 * a bundle, or after any change, `bin/mica` runs them as they are.
 *
 *     node scripts/bundle.ts
 */
import { rename, rm, utimes } from "node:fs/promises";
import { rolldown } from "rolldown";

const DIR = ".bundle";
const ASIDE = `${DIR}.new`;
const begunAt = new Date(); // A source that is saved while we read makes the bundle old.

const bundle = await rolldown({
  input: "src/main.ts",
  platform: "node",
  // Native code is found beside its package. Clients of object stores are large, and loaded only where a pool needs them.
  external: [/^koffi$/, /^@aws-sdk\//],
  logLevel: "warn",
});
await bundle.write({ dir: ASIDE, cleanDir: true, entryFileNames: "[name].mjs", chunkFileNames: "[name]-[hash].mjs" });
await utimes(`${ASIDE}/main.mjs`, begunAt, begunAt);
await rm(DIR, { recursive: true, force: true });
await rename(ASIDE, DIR);
