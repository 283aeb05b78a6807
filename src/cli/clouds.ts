import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { copyCloud } from "#/client/clouds-file.ts";
import { ClientError } from "#/client/errors.ts";
import { loadConfig } from "#/config/load.ts";
import type { CommandContext } from "./command.ts";

export function addCloudsCommand(program: Command, { terminal }: CommandContext): void {
  program
    .command("clouds")
    .description("print the clouds.yaml that lets every OpenStack client in, or write it where they look")
    .option("--data-dir <dir>", "the data folder of the Mica")
    .option("--write <file>", "put the cloud into this clouds.yaml beside what is there, as in ~/.config/openstack/clouds.yaml")
    .action(async ({ dataDir, write }: { dataDir?: string; write?: string }) => {
      const own = join(loadConfig({ flags: { dataDir } }).config.dataDir, "clouds.yaml");
      const text = await readFile(own, "utf8").catch((cause: unknown) => {
        throw new ClientError("no_access", `Cannot read ${own}: ${(cause as Error).message}`, {
          cause,
          fix: "Start Mica once (`make start`): it writes the file.",
        });
      });
      if (write === undefined) return terminal.line(text.trimEnd());
      await copyCloud(own, write, "mica");
      terminal.line(`The cloud "mica" is in ${write}. Try: openstack --os-cloud mica image list`);
    });
}
