import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { type ClientOptions, type CommandContext, connect, withClientOptions } from "../command.ts";
import { Acts } from "./acts.ts";
import { Story } from "./story.ts";

export function addDemoCommand(program: Command, context: CommandContext): void {
  const command = program
    .command("demo")
    .description("do the main job before your eyes: an image in, volumes out, an image again, and the contents compared")
    .option("--keep", "leave the images and volumes there");
  withClientOptions(command).action(async ({ keep, ...options }: ClientOptions & { keep?: boolean }) =>
    demo(context, keep ?? false, options),
  );
}

async function demo({ terminal, signal }: CommandContext, keep: boolean, options: ClientOptions): Promise<void> {
  const client = await connect(options);
  const story = new Story(terminal);
  const folder = await mkdtemp(join(tmpdir(), "mica-demo-"));
  const acts = new Acts({ client, story, terminal, signal, folder });
  terminal.line(`Mica at ${client.session.cloud.authUrl.replace(/\/identity\/v3$/, "")}, as ${client.session.cloud.from} says.`);
  try {
    await acts.play();
    story.close();
  } finally {
    if (!keep) await acts.cleanUp();
    await rm(folder, { recursive: true, force: true });
  }
  terminal.line();
  terminal.line(
    keep
      ? "The images and volumes of the demonstration are still there: mica-demo…"
      : "Cleaned up. `./bin/mica demo --keep` leaves the images and volumes there.",
  );
  terminal.line("Next: ./bin/mica operations list, ./bin/mica pools, ./bin/mica audit");
}
