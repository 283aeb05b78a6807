import { loadavg, networkInterfaces, uptime } from "node:os";
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from "#/lib/units.ts";
import type { Machine } from "./hosts-view.ts";

/** The machine that this process runs on. */
export function machineNow(nowMs: number): Machine {
  return { ip: firstAddress(), uptime: uptimeText(nowMs, uptime() * SECOND_MS) };
}

/** Loopback where there is no other. */
function firstAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return addresses.find(({ family, internal }) => family === "IPv4" && !internal)?.address ?? "127.0.0.1";
}

/** `up 3 days,  4:05,  load average: 0.10, 0.05, 0.01` behind the time, in the manner of uptime(1). */
function uptimeText(nowMs: number, uptimeMs: number): string {
  const days = Math.floor(uptimeMs / DAY_MS);
  const hours = Math.floor((uptimeMs % DAY_MS) / HOUR_MS);
  const minutes = Math.floor((uptimeMs % HOUR_MS) / MINUTE_MS);
  const load = loadavg().map((value) => value.toFixed(2)).join(", ");
  return ` ${new Date(nowMs).toISOString().slice(11, 19)} up ${days} days, ${hours}:${String(minutes).padStart(2, "0")},  0 users,  load average: ${load}`;
}
