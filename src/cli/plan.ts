import { type Command, InvalidArgumentError, Option } from "commander";
import type { PlanRequest } from "#/client/mica.ts";
import { type Client, type ClientOptions, type CommandContext, connect, withClientOptions } from "./command.ts";
import { showPlan } from "./plan-text.ts";

const SOURCE_KINDS = ["image", "volume", "snapshot"] as const;

type ImageFormat = NonNullable<PlanRequest["target"]["diskFormat"]>;
const IMAGE_FORMATS: readonly ImageFormat[] = ["raw", "qcow2", "vmdk", "vdi", "vhd", "vhdx"];

interface Source {
  readonly kind: PlanRequest["source"]["kind"];
  readonly idOrName: string;
}

export function addPlanCommand(program: Command, { terminal }: CommandContext): void {
  const command = program
    .command("plan")
    .description("say how Mica would make a volume or an image, without doing it")
    .argument("<source>", "image:ID, volume:ID, snapshot:ID (or a name), or blank", parseSource)
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
    const plan = await client.mica.plan({ source: await resolveSource(client, source), target });
    if (options.json) terminal.json(plan);
    else showPlan(terminal, plan);
  });
}

interface PlanOptions extends ClientOptions {
  readonly size?: number;
  readonly type?: string;
  readonly diskFormat?: ImageFormat;
}

async function resolveSource(client: Client, { kind, idOrName }: Source): Promise<PlanRequest["source"]> {
  switch (kind) {
    case "blank":
      return { kind };
    case "image":
      return { kind, id: (await client.images.find(idOrName)).id };
    case "volume":
      return { kind, id: (await client.volumes.find(idOrName)).id };
    case "snapshot":
      return { kind, id: (await client.volumes.findSnapshot(idOrName)).id };
  }
}

function parseSource(text: string): Source {
  if (text === "blank") return { kind: "blank", idOrName: "" };
  const [, kind, idOrName] = /^(\w+):(.+)$/.exec(text) ?? [];
  const known = SOURCE_KINDS.find((known) => known === kind);
  if (!known || !idOrName) throw new InvalidArgumentError("It must be image:ID, volume:ID, snapshot:ID or blank.");
  return { kind: known, idOrName };
}

function parseTarget(text: string): string {
  if (text !== "volume" && text !== "image") throw new InvalidArgumentError("It must be volume or image.");
  return text;
}

function parseSize(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError("It must be a whole number of GiB, at least 1.");
  return Number(text);
}
