import type { Command } from "commander";
import { type ClientOptions, type CommandContext, connect, withClientOptions } from "./command.ts";
import { showCaptures } from "./captures-text.ts";

export function addExplainCommand(program: Command, { terminal }: CommandContext): void {
  const command = program
    .command("explain")
    .description("every way to make an image of a server now: what each costs, how consistent it is, and what the last one took")
    .argument("<server>", "its id, or its name");
  withClientOptions(command).action(async (named: string, options: ClientOptions) => {
    const { mica, servers } = await connect(options);
    const captures = await mica.captures((await servers.find(named)).id);
    if (options.json) terminal.json(captures);
    else showCaptures(terminal, captures);
  });
}
