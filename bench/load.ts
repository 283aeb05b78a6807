/** A process of its own that asks one URL again and again over some connections: so it takes no time from whoever measures. */
import { Agent, get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

export interface Load {
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly connections: number;
  readonly durationMs: number;
  /** Between an answer and the next request of the connection. */
  readonly pauseMs?: number;
}

export interface LoadResult {
  readonly latenciesMs: readonly number[];
  readonly durationMs: number;
  /** What went wrong with the first request that failed; then the rest does not count. */
  readonly failure?: string;
}

const REQUEST_LIMIT_MS = 20_000;

if (process.send) {
  const agent = new Agent({ keepAlive: true });
  process.on("message", (load: Load) => void run(load, agent).then((result) => process.send?.(result)));
  process.once("disconnect", () => process.exit());
}

async function run(load: Load, agent: Agent): Promise<LoadResult> {
  const latenciesMs: number[] = [];
  const startedMs = performance.now();
  const endMs = startedMs + load.durationMs;
  const connection = async () => {
    while (performance.now() < endMs) {
      latenciesMs.push(await latency(load, agent));
      if (load.pauseMs) await sleep(load.pauseMs);
    }
  };
  try {
    await Promise.all(Array.from({ length: load.connections }, connection));
    return { latenciesMs, durationMs: performance.now() - startedMs };
  } catch (error) {
    return { latenciesMs, durationMs: performance.now() - startedMs, failure: (error as Error).message };
  }
}

function latency({ url, headers }: Load, agent: Agent): Promise<number> {
  const startedMs = performance.now();
  return new Promise((resolve, reject) => {
    const asked = get(url, { headers, agent, timeout: REQUEST_LIMIT_MS }, (answer) => {
      answer.resume().once("error", reject).once("end", () => {
        if (answer.statusCode === 200) resolve(performance.now() - startedMs);
        else reject(new Error(`${url} answered ${answer.statusCode}`));
      });
    });
    asked.once("error", reject).once("timeout", () => asked.destroy(new Error(`${url} did not answer`)));
  });
}
