import type { Command } from "commander";
import type { Mica } from "#/client/mica.ts";
import { type ClientOptions, type CommandContext, connect, withClientOptions } from "./command.ts";
import { followOperation } from "./operations.ts";
import { poolFromArguments } from "./pool-arguments.ts";
import { showPool } from "./pools.ts";

/** What an administrator does with one pool while Mica runs. */
export function addPoolCommand(program: Command, context: CommandContext): void {
  const pool = program.command("pool").description("one pool: show, add, drain, undrain, remove, dedup");
  addShow(pool, context);
  addAdd(pool, context);
  addDrain(pool, context);
  addUndrain(pool, context);
  addRemove(pool, context);
  addDedup(pool, context);
}

function addShow(pool: Command, { terminal }: CommandContext): void {
  const command = pool.command("show").description("all that is known of a pool").argument("<name>");
  withClientOptions(command).action(async (name: string, options: ClientOptions) => {
    const found = await (await connect(options)).mica.pool(name);
    if (options.json) terminal.json(found);
    else showPool(terminal, found);
  });
}

const ADD_HELP = `
Examples:
  mica pool add name=fast path=/srv/fast
  mica pool add name=ceph driver=rbd rbd.pool=volumes roles=volumes,cache
  mica pool add fast.json          a file with one pool, as in the configuration

docs/configuration.md lists every option of a pool.`;

function addAdd(pool: Command, { terminal }: CommandContext): void {
  const command = pool
    .command("add")
    .description("add a pool, which stays across restarts")
    .argument("<what...>", "FILE, or KEY=VALUE for each option")
    .addHelpText("after", ADD_HELP);
  withClientOptions(command).action(async (what: string[], options: ClientOptions) => {
    const written = poolFromArguments(what);
    const added = await (await connect(options)).mica.addPool(written);
    if (options.json) return terminal.json(added);
    showPool(terminal, added);
  });
}

function addDrain(pool: Command, { terminal }: CommandContext): void {
  const command = pool.command("drain").description("let a pool take no new disks; those that it has go on").argument("<name>");
  withClientOptions(command).action(async (name: string, options: ClientOptions) => {
    const drained = await (await connect(options)).mica.drainPool(name);
    if (options.json) return terminal.json(drained);
    const { count = 0 } = drained.disks ?? {};
    terminal.line(`Pool ${name} takes no new disks. It holds ${count === 0 ? "none" : count}: they go on as before.`);
    terminal.line(terminal.style("dim", count === 0 && drained.added ? `Remove it: mica pool remove ${name}` : `Take it back: mica pool undrain ${name}`));
  });
}

function addUndrain(pool: Command, { terminal }: CommandContext): void {
  const command = pool.command("undrain").description("let a drained pool take new disks again").argument("<name>");
  withClientOptions(command).action(async (name: string, options: ClientOptions) => {
    const open = await (await connect(options)).mica.undrainPool(name);
    if (options.json) terminal.json(open);
    else terminal.line(`Pool ${name} takes new disks.`);
  });
}

function addRemove(pool: Command, { terminal }: CommandContext): void {
  const command = pool.command("remove").description("forget a pool that was added and holds no disks").argument("<name>");
  withClientOptions(command).action(async (name: string, options: ClientOptions) => {
    await (await connect(options)).mica.removePool(name);
    if (options.json) terminal.json({ removed: name });
    else terminal.line(`Pool ${name} is removed. Its place was left as it is.`);
  });
}

function addDedup(pool: Command, context: CommandContext): void {
  const command = pool
    .command("dedup")
    .description("have the storage keep once what disks hold alike, and watch it; Ctrl-C stops watching, not the operation")
    .argument("<name>");
  withClientOptions(command).action(async (name: string, options: ClientOptions) => {
    const { mica } = await connect(options);
    const last = await followOperation(context, mica, (await mica.dedupPool(name)).id, options);
    if (last?.state !== "done") context.exitWith(1);
    else if (!options.json) await showSpace(context, mica, name);
  });
}

async function showSpace({ terminal }: CommandContext, mica: Mica, name: string): Promise<void> {
  showPool(terminal, await mica.pool(name));
}
