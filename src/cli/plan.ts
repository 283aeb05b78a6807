import { type Command, InvalidArgumentError, Option } from "commander";
import type { PlanRequest } from "#/client/mica.ts";
import { type Client, type ClientOptions, type CommandContext, connect, withClientOptions } from "./command.ts";
import { showPlan } from "./plan-text.ts";
import { findRecord, parseRecord, type RecordArgument } from "./record-argument.ts";

type ImageFormat = NonNullable<PlanRequest["target"]["diskFormat"]>;
const IMAGE_FORMATS: readonly ImageFormat[] = ["raw", "qcow2", "vmdk", "vdi", "vhd", "vhdx"];

type Source = RecordArgument | { readonly kind: "server"; readonly idOrName: string } | { readonly kind: "blank" };

export function addPlanCommand(program: Command, { terminal }: CommandContext): void {
  const command = program
    .command("plan")
    .description("say how Mica would make a volume or an image, without doing it")
    .argument("<source>", "image:ID, volume:ID, snapshot:ID, server:ID (or a name), or blank", parseSource)
    .argument("<target>", "volume or image", parseTarget)
    .option("--size <GiB>", "size of the volume; as large as the source where left out", parseSize)
    .option("--type <type>", "type of the volume")
    .addOption(new Option("--disk-format <format>", "format of the image").choices(IMAGE_FORMATS));
  withClientOptions(command).action(async (source: Source, kind: "volume" | "image", options: PlanOptions) => {
    const client = await connect(options);
    const target = {
      kind,
      ...(options.size === undefined ? {} : { sizeGib: options.size }),
      ...(options.type === undefined ? {} : { volumeType: options.type }),
      ...(options.diskFormat === undefined ? {} : { diskFormat: options.diskFormat }),
    };
    const plan = await client.mica.plan({ source: await findSource(client, source), target });
    if (options.json) terminal.json(plan);
    else showPlan(terminal, plan);
  });
}

interface PlanOptions extends ClientOptions {
  readonly size?: number;
  readonly type?: string;
  readonly diskFormat?: ImageFormat;
}

function parseSource(text: string): Source {
  const [, server] = /^server:(.+)$/.exec(text) ?? [];
  if (server) return { kind: "server", idOrName: server };
  return text === "blank" ? { kind: "blank" } : parseRecord(text);
}

async function findSource(client: Client, source: Source): Promise<PlanRequest["source"]> {
  if (source.kind === "blank") return source;
  return source.kind === "server" ? { kind: "server", id: (await client.servers.find(source.idOrName)).id } : findRecord(client, source);
}

function parseTarget(text: string): string {
  if (text !== "volume" && text !== "image") throw new InvalidArgumentError("It must be volume or image.");
  return text;
}

function parseSize(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError("It must be a whole number of GiB, at least 1.");
  return Number(text);
}
