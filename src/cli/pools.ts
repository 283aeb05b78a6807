import type { Command } from "commander";
import type { Pool } from "#/client/mica.ts";
import { formatBytes } from "#/lib/units.ts";
import { type ClientOptions, type CommandContext, connect, withClientOptions } from "./command.ts";

export function addPoolsCommand(program: Command, { terminal }: CommandContext): void {
  const command = program.command("pools").description("the places for bytes: room, roles, what each can do and why not");
  withClientOptions(command).action(async (options: ClientOptions) => {
    const { mica } = await connect(options);
    const pools = await mica.pools();
    if (options.json) return terminal.json(pools);
    terminal.table(["NAME", "DRIVER", "STATE", ">FREE", ">TOTAL", ">PROMISED", ">DISKS", ">CACHED", "CLONES", "ROLES"], pools.map(poolRow));
    for (const { name, reason, can } of pools) {
      if (reason) terminal.line(terminal.style("red", `${name}: ${reason}`));
      for (const why of Object.values(can?.why ?? {})) terminal.line(terminal.style("dim", `${name}: ${why}`));
    }
  });
}

function poolRow({ name, driver, state, capacity, disks, cache, can, roles }: Pool): string[] {
  const size = (bytes: number | undefined) => (bytes === undefined ? "?" : formatBytes(bytes));
  return [
    name,
    driver,
    state,
    size(capacity?.freeBytes),
    size(capacity?.totalBytes),
    size(capacity?.provisionedBytes),
    String(disks?.count ?? "?"),
    cache ? `${cache.entries} (${formatBytes(cache.sizeBytes)})` : "",
    can?.clone ?? "",
    roles.join(", "),
  ];
}
