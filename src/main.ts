#!/usr/bin/env node
/** The entry of the `mica` command. What serves is loaded only when it is asked for, so that small commands start fast. */
import { endWithReader, runCli } from "#/cli/program.ts";

const argv = process.argv.slice(2);
endWithReader(argv);
process.exitCode = await runCli(argv, {
  serve: async (loaded) => (await import("#/serve.ts")).serve(loaded),
  worker: async (loaded) => (await import("#/worker.ts")).work(loaded),
  audit: async (loaded) => (await import("#/serve.ts")).auditDataFolder(loaded),
});
