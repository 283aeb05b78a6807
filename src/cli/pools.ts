import type { Command } from "commander";
import type { Pool } from "#/client/mica.ts";
import { formatBytes } from "#/lib/units.ts";
import { type ClientOptions, type CommandContext, connect, withClientOptions } from "./command.ts";
import type { Terminal } from "./terminal.ts";
import { formatTime } from "./words.ts";

export function addPoolsCommand(program: Command, { terminal }: CommandContext): void {
  const command = program.command("pools").description("the places for bytes: room, roles, what each can do and why not");
  withClientOptions(command).action(async (options: ClientOptions) => {
    const { mica } = await connect(options);
    const pools = await mica.pools();
    if (options.json) return terminal.json(pools);
    terminal.table(["NAME", "DRIVER", "STATE", ">FREE", ">TOTAL", ">PROMISED", ">DISKS", ">CACHED", "CLONES", "ROLES"], pools.map(poolRow));
    for (const pool of pools) {
      if (pool.reason) terminal.line(terminal.style("red", `${pool.name}: ${pool.reason}`));
      if (pool.space) terminal.line(terminal.style("dim", `${pool.name}: ${spaceWords(pool.space)}`));
      for (const why of reasons(pool)) terminal.line(terminal.style("dim", `${pool.name}: ${why}`));
    }
  });
}

/** Why it can not more; what most places cannot is for `mica pool show`. */
function reasons({ reason, can }: Pool): string[] {
  return reason ? [] : Object.entries(can?.why ?? {}).flatMap(([capability, why]) => (["dedup", "changes"].includes(capability) ? [] : [why]));
}

function poolRow(pool: Pool): string[] {
  const { name, driver, capacity, disks, cache, can, roles } = pool;
  return [
    name,
    driver,
    stateWords(pool),
    size(capacity?.freeBytes),
    size(capacity?.totalBytes),
    size(capacity?.provisionedBytes),
    String(disks?.count ?? "?"),
    cache ? `${cache.entries} (${formatBytes(cache.sizeBytes)})` : "",
    pool.state === "up" ? (can?.clone ?? "") : "?",
    roles.join(", "),
  ];
}

/** All that is known of one pool. */
export function showPool(terminal: Terminal, pool: Pool): void {
  const { name, driver, roles, can, capacity, disks, cache, space } = pool;
  const isUp = pool.state === "up";
  terminal.facts({
    Pool: `${terminal.style(["bold", "cyan"], name)}, ${pool.added ? "added while Mica ran" : "from the configuration"}`,
    Driver: driver,
    State: terminal.style(isUp ? "green" : "red", stateWords(pool)),
    Because: pool.reason ? `${pool.reason}${pool.downSince ? `, since ${formatTime(pool.downSince)}` : ""}` : undefined,
    Roles: roles.join(", "),
    Place: isUp ? can?.place : undefined,
    Room: capacity ? `${size(capacity.freeBytes)} free of ${size(capacity.totalBytes)}, ${size(capacity.provisionedBytes)} promised, ${size(capacity.reservedBytes)} of it being filled` : undefined,
    Metadata: capacity?.metadataPercent === undefined ? undefined : `${capacity.metadataPercent} % of their space in use`,
    Space: space ? `${spaceWords(space)}, at ${formatTime(space.measuredAt)}` : undefined,
    Disks: disks ? String(disks.count) : undefined,
    Cache: cache ? `${cache.entries} images, ${formatBytes(cache.sizeBytes)}, ${cache.hits} hits` : undefined,
    Can: isUp && can ? abilities(can) : undefined,
    Why: isUp ? Object.values(can?.why ?? {}).join("\n") || undefined : undefined,
  });
}

function abilities({ clone, snapshot, offloadCopy, addressable, dedup, changes }: NonNullable<Pool["can"]>): string {
  const yes = [
    clone !== "none" && `clone (${clone})`,
    snapshot && "snapshot",
    offloadCopy && "copy by itself",
    addressable !== "none" && `be ${addressable === "write" ? "written" : "read"} in place`,
    dedup && "dedup",
    changes && `tell what has changed (by ${changes})`,
  ];
  return yes.filter(Boolean).join(", ") || "only keep bytes";
}

function stateWords({ state, drained }: Pool): string {
  return drained ? `${state}, drained` : state;
}

/** "takes 1.2 GiB, would take 3 GiB if nothing were shared". */
function spaceWords({ allocatedBytes, physicalBytes, sharedBytes }: NonNullable<Pool["space"]>): string {
  return `disks take ${size(physicalBytes)}, and would take ${size(allocatedBytes)} if they shared nothing; they share ${size(sharedBytes)}`;
}

function size(bytes: number | undefined): string {
  return bytes === undefined ? "?" : formatBytes(bytes);
}
