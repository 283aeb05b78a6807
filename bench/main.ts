/**
 * The numbers that Mica promises: node bench/main.ts [--json] [--small] [NAME…]. Ratios count, each within one run: a busy
 * machine slows both sides. Exit code 0 when all could be measured, whether met or not; 1 when something failed.
 * TMPDIR chooses the file system that is measured.
 */
import { parseArgs } from "node:util";
import { MINUTE_MS } from "#/lib/units.ts";
import { atOnce, rbdAtOnce } from "./at-once.ts";
import { capture } from "./capture.ts";
import { Bed, type Measurement } from "./bed.ts";
import { clone, rbdClone } from "./clone.ts";
import { convert, rbdConvert } from "./convert.ts";
import type { Figure } from "./figure.ts";
import { lists } from "./lists.ts";
import { memory } from "./memory.ts";
import { saga } from "./saga.ts";
import { serverImages } from "./server-images.ts";
import { rbdServers, servers } from "./servers.ts";
import { start } from "./start.ts";
import { tableOf } from "./table.ts";
import { transfer } from "./transfer.ts";

const MEASUREMENTS: Readonly<Record<string, Measurement>> = {
  start,
  memory,
  clone,
  convert,
  capture,
  "at-once": atOnce,
  lists,
  transfer,
  saga,
  "rbd-clone": rbdClone,
  "rbd-convert": rbdConvert,
  "rbd-at-once": rbdAtOnce,
  servers,
  "rbd-servers": rbdServers,
  "server-images": serverImages,
};

/** No measurement takes longer, however busy the machine is. */
const LIMIT_MS = 10 * MINUTE_MS;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "boolean", default: false }, small: { type: "boolean", default: false } },
});
const results: Record<string, readonly Figure[]> = {};
for (const name of chosen(positionals)) {
  const { about, measure } = MEASUREMENTS[name] as Measurement;
  if (!values.json) process.stdout.write(`\n${name}: ${about}\n`);
  try {
    const figures = (results[name] = await measureInTime(measure));
    if (!values.json) process.stdout.write(`${tableOf(figures)}\n`);
  } catch (error) {
    process.exitCode = 1;
    process.stderr.write(`${name} could not be measured: ${(error as Error).stack}\n`);
  }
}
if (values.json) process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);

function chosen(names: readonly string[]): readonly string[] {
  const unknown = names.filter((name) => !(name in MEASUREMENTS));
  if (unknown.length === 0) return names.length > 0 ? names : Object.keys(MEASUREMENTS);
  process.stderr.write(`There is no ${unknown.join(", ")}. There are: ${Object.keys(MEASUREMENTS).join(", ")}\n`);
  process.exit(2);
}

async function measureInTime(measure: Measurement["measure"]): Promise<readonly Figure[]> {
  await using bed = await Bed.make({ isSmall: values.small });
  const ended = Promise.withResolvers<never>();
  const stop = (because: string) => ended.reject(new Error(because));
  const timer = setTimeout(stop, LIMIT_MS, `It took more than ${LIMIT_MS / MINUTE_MS} minutes.`);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, stop);
  try {
    return await Promise.race([measure(bed), ended.promise]);
  } finally {
    clearTimeout(timer);
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.removeListener(signal, stop);
  }
}
