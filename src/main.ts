#!/usr/bin/env node
/** The entry of the `mica` command. What serves is loaded only when it is asked for, so that small commands start fast. */
import { runCli } from "#/cli/program.ts";

process.exitCode = await runCli(process.argv.slice(2), {
  serve: async (loaded) => (await import("#/serve.ts")).serve(loaded),
  audit: async (loaded) => (await import("#/serve.ts")).auditDataFolder(loaded),
});
