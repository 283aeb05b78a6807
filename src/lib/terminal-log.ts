import { Writable } from "node:stream";

const LEVELS: Readonly<Record<number, string>> = { 10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal" };
const HIDDEN = new Set(["level", "time", "pid", "hostname", "msg"]);

/** Turns JSON log lines into short ones for a person at a terminal: `13:37:02 info  request  GET /image/v2/images 200 3 ms`. */
export function terminalLog(out: Writable): Writable {
  return new Writable({
    write(chunk: Buffer, _, done) {
      for (const line of chunk.toString().split("\n")) if (line !== "") out.write(`${shorten(line)}\n`);
      done();
    },
  });
}

function shorten(line: string): string {
  const { level, time, msg, err, ...rest } = JSON.parse(line) as { level: number; time: number; msg?: string; err?: { stack?: string } };
  const fields = Object.entries(rest).filter(([name, value]) => !HIDDEN.has(name) && value !== undefined && value !== null);
  const words = fields.map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`);
  const head = `${new Date(time).toISOString().slice(11, 19)} ${(LEVELS[level] ?? level).toString().padEnd(5)} ${msg ?? ""}`;
  return [head, ...words, ...(err?.stack ? [`\n${err.stack}`] : [])].join("  ");
}
