import type { Command } from "commander";
import type { MapPage } from "#/client/maps.ts";
import { formatBytes } from "#/lib/units.ts";
import { type ClientOptions, type CommandContext, connect, withClientOptions } from "./command.ts";
import { DiskPicture } from "./disk-picture.ts";
import { findRecord, parseRecord, RECORD_HELP, type RecordArgument } from "./record-argument.ts";
import type { Terminal } from "./terminal.ts";
import { formatPercent } from "./words.ts";

interface MapOptions extends ClientOptions {
  readonly list?: boolean;
}

interface ChangesOptions extends MapOptions {
  readonly since: RecordArgument;
}

/** What is marked on a page, and how it is called. */
interface Marked {
  readonly page: MapPage;
  readonly ranges: readonly { readonly start: number; readonly end: number }[];
}

export function addExtentsCommand(program: Command, { terminal, signal }: CommandContext): void {
  const command = program
    .command("extents")
    .description("where a disk holds data, and where it surely reads as zeroes")
    .argument("<record>", RECORD_HELP, parseRecord)
    .option("--list", "every part with data, a line for each: where it starts and ends, in bytes");
  withClientOptions(command).action(async (named: RecordArgument, options: MapOptions) => {
    const client = await connect(options);
    const pages = client.maps.extents(await findRecord(client, named), signal);
    if (options.json) return terminal.json(await Array.fromAsync(pages));
    await show(terminal, options, "data", marked(pages, ({ extents }) => extents.filter(({ kind }) => kind === "data")));
  });
}

export function addChangesCommand(program: Command, { terminal, signal }: CommandContext): void {
  const command = program
    .command("changes")
    .description("what of a disk may differ from an older one")
    .argument("<record>", RECORD_HELP, parseRecord)
    .requiredOption("--since <record>", `the older one: ${RECORD_HELP}`, parseRecord)
    .option("--list", "every part that may differ, a line for each: where it starts and ends, in bytes");
  withClientOptions(command).action(async (named: RecordArgument, options: ChangesOptions) => {
    const client = await connect(options);
    const since = await findRecord(client, options.since);
    const pages = client.maps.changes(await findRecord(client, named), since.id, signal);
    if (options.json) return terminal.json(await Array.fromAsync(pages));
    await show(terminal, options, "changed", marked(pages, ({ changes }) => changes));
  });
}

async function* marked<Page extends MapPage>(pages: AsyncIterable<Page>, rangesOf: (page: Page) => Marked["ranges"]): AsyncIterable<Marked> {
  for await (const page of pages) yield { page, ranges: rangesOf(page) };
}

async function show(terminal: Terminal, { list }: MapOptions, word: "data" | "changed", pages: AsyncIterable<Marked>): Promise<void> {
  let [picture, bytes, parts, last]: [DiskPicture | undefined, number, number, MapPage | undefined] = [undefined, 0, 0, undefined];
  for await (const { page, ranges } of pages) {
    picture ??= new DiskPicture(page.sizeBytes);
    for (const range of ranges) {
      picture.mark(range);
      bytes += range.end - range.start;
    }
    parts += ranges.length;
    last = page;
    if (list) for (const { start, end } of ranges) terminal.line(`${start}..${end}  ${formatBytes(end - start)}`);
  }
  if (!last || !picture) return;
  const { kind, id, sizeBytes, how } = last;
  terminal.facts({
    [kind === "image" ? "Image" : kind === "volume" ? "Volume" : "Snapshot"]: id,
    Size: formatBytes(sizeBytes),
    [word === "data" ? "Data" : "Changed"]: `${formatBytes(bytes)} (${formatPercent(sizeBytes === 0 ? 0 : bytes / sizeBytes)}) in ${parts} part${parts === 1 ? "" : "s"}`,
    Known: how,
  });
  if (sizeBytes === 0) return;
  terminal.line(`|${picture}|`);
  terminal.line(terminal.style("dim", `█ ${word}, · ${word === "data" ? "zeroes" : "the same"}, ░▒▓ in between; each mark is ${formatBytes(picture.cellBytes)}`));
}
