import { join } from "node:path";
import { addMember, type Bed, type Measurement } from "./bed.ts";
import { atMost, type Figure, median, percentile } from "./figure.ts";
import { LoadGenerator } from "./load-generator.ts";
import { processorMsOf } from "./process-facts.ts";
import { COMMON_NAME, RARE_STATUS, writeRecords } from "./records.ts";

const CONNECTIONS = 16;
const RATIO_MAX = 1.3;
const [FEW_RECORDS, MANY_RECORDS] = [100, 10_000];

type Who = "admin" | "few" | "many";

interface List {
  readonly figure: string;
  readonly path: string;
  readonly who: Who;
}

const IMAGES = "/image/v2/images?limit=25";
const VOLUMES = "/volume/v3/volumes?limit=25";
const DETAIL = "/volume/v3/volumes/detail?limit=25";

const LISTS: readonly List[] = [
  { figure: "images, by the admin", path: IMAGES, who: "admin" },
  { figure: "images, by a project with 30", path: IMAGES, who: "few" },
  { figure: "images, by a project with half of them", path: IMAGES, who: "many" },
  { figure: "images of a name", path: `${IMAGES}&name=${COMMON_NAME}`, who: "admin" },
  { figure: "images of a rare status", path: `${IMAGES}&status=${RARE_STATUS.image}`, who: "admin" },
  { figure: "images of a rare status, by a project with half", path: `${IMAGES}&status=${RARE_STATUS.image}`, who: "many" },
  { figure: "volumes, of all projects", path: `${VOLUMES}&all_tenants=1`, who: "admin" },
  { figure: "volumes in detail, of all projects", path: `${DETAIL}&all_tenants=1`, who: "admin" },
  { figure: "volumes in detail, of a project with 30", path: DETAIL, who: "few" },
  { figure: "volumes in detail, of a project with half of them", path: DETAIL, who: "many" },
  { figure: "volumes of a name", path: `${VOLUMES}&all_tenants=1&name=${COMMON_NAME}`, who: "admin" },
  { figure: "volumes of a rare status", path: `${VOLUMES}&all_tenants=1&status=${RARE_STATUS.volume}`, who: "admin" },
];

/** Pages of 25 from two servers by turns: one with few records, one with many. */
export const lists: Measurement = {
  about: `25 of ${MANY_RECORDS.toLocaleString("en")} records over ${CONNECTIONS} connections, against 25 of ${FEW_RECORDS}`,
  async measure(bed) {
    const [few, many] = [await served(bed, FEW_RECORDS), await served(bed, MANY_RECORDS)];
    const generator = bed.use(new LoadGenerator());
    const figures: Figure[] = [];
    for (const list of LISTS) figures.push(await measureList(bed, generator, list, [few, many]));
    return figures;
  },
};

interface Served {
  readonly pid: number;
  readonly url: string;
  readonly tokens: Readonly<Record<Who, string>>;
}

async function served(bed: Bed, count: number): Promise<Served> {
  const mica = await bed.mica(`lists-${count}`);
  const [few, many] = [await addMember(mica, "few"), await addMember(mica, "many")];
  await mica.stop();
  await writeRecords(join(mica.dataDir, "mica.db"), count, { fewProjectId: few.projectId, manyProjectId: many.projectId });
  await mica.start();
  return { pid: mica.pid, url: mica.url, tokens: { admin: await mica.token(), few: await few.login(), many: await many.login() } };
}

async function measureList(bed: Bed, generator: LoadGenerator, { figure, path, who }: List, servers: readonly [Served, Served]): Promise<Figure> {
  const durationMs = bed.sized(800);
  const bursts: [Burst[], Burst[]] = [[], []];
  for (const side of [0, 1, 0, 1, 1, 0, 0, 1] as const) {
    const { pid, url, tokens } = servers[side];
    const beforeMs = await processorMsOf(pid);
    const { latenciesMs, durationMs: tookMs } = await generator.run({ url: url + path, headers: { "x-auth-token": tokens[who] }, connections: CONNECTIONS, durationMs });
    bursts[side].push({ latenciesMs, perSecond: latenciesMs.length / (tookMs / 1000), processorMs: (await processorMsOf(pid)) - beforeMs });
  }
  const [few, many] = bursts.map((all) => all.slice(1)) as [Burst[], Burst[]]; // The first warms up.
  const ratio = processorMsPerRequest(many) / processorMsPerRequest(few);
  const all = many.flatMap(({ latenciesMs }) => latenciesMs);
  return {
    figure,
    unit: "ms",
    median: median(all),
    p99: percentile(all, 0.99),
    ratio,
    against: `${FEW_RECORDS} records, processor time of a request`,
    limit: atMost(ratio, RATIO_MAX, "×"),
    note: `${Math.round(median(many.map(({ perSecond }) => perSecond)))} requests/s, ${processorMsPerRequest(many).toFixed(2)} ms of processor time each`,
  };
}

interface Burst {
  readonly latenciesMs: readonly number[];
  readonly perSecond: number;
  readonly processorMs: number;
}

/** What the server works for a request: it stays the same where other processes want the machine too, and latencies do not. */
function processorMsPerRequest(bursts: readonly Burst[]): number {
  const sum = (amounts: readonly number[]) => amounts.reduce((total, amount) => total + amount, 0);
  return sum(bursts.map(({ processorMs }) => processorMs)) / sum(bursts.map(({ latenciesMs }) => latenciesMs.length));
}
