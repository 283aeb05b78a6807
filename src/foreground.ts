/** What the commands that run until a signal ends them have in common. */
import { mkdir } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Logger, pino } from "pino";
import type { Server } from "#/api/server.ts";
import type { Config } from "#/config/schema.ts";
import { lockDataFolder } from "#/db/data-lock.ts";
import { AppError } from "#/domain/errors.ts";
import { removeDesertedFolders } from "#/lib/temporary-folder.ts";
import { terminalLog } from "#/lib/terminal-log.ts";
import { limitConversions } from "#/tools/qemu-img.ts";

/** Lines for a person where a person looks, JSON elsewhere; always on stderr. */
export function openLog({ logLevel }: Pick<Config, "logLevel">): Logger {
  const stream = process.stderr.isTTY ? terminalLog(process.stderr) : process.stderr;
  return pino({ level: logLevel, base: null }, stream);
}

/** The data folder is this process's alone until the end of `stack`, tools have their limits, and what killed processes have left elsewhere goes. Errors: `conflict`. */
export async function takeHost(stack: AsyncDisposableStack, { dataDir, tools }: Pick<Config, "dataDir" | "tools">): Promise<void> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  stack.use(lockDataFolder(join(dataDir, "mica.lock")));
  const { timeLimitMs, addressSpaceBytesMax, cpuSecondsMax } = tools;
  limitConversions({ timeoutMs: timeLimitMs, addressSpaceBytes: addressSpaceBytesMax, cpuSeconds: cpuSecondsMax });
  await removeDesertedFolders();
}

/** `HOST:PORT`, as the configuration has checked it; an IPv6 host loses its brackets. */
export function hostAndPort(address: string): { readonly host: string; readonly port: number } {
  const [, host = "", port = ""] = /^\[?(.+?)\]?:(\d+)$/.exec(address) ?? [];
  return { host, port: Number(port) };
}

/** Returns the address that it got, without a scheme. Errors: `conflict`. */
export async function listen(app: Server, address: string): Promise<string> {
  const { host, port } = hostAndPort(address);
  try {
    await app.listen({ host, port });
  } catch (cause) {
    throw cannotListen(address, "--listen", cause);
  }
  const { port: bound } = app.server.address() as AddressInfo;
  return `${host.includes(":") ? `[${host}]` : host}:${bound}`;
}

export function cannotListen(address: string, flag: string, cause: unknown): AppError {
  return new AppError("conflict", `Cannot listen on ${address}: ${(cause as Error).message}. Choose another address with ${flag}.`, { cause });
}

export function untilSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve(signal));
  });
}
