import { inspect } from "node:util";
import type { TestEvent } from "node:test/reporters";

/** How a test ended, as it leaves the guest: one line of JSON after a record separator (RFC 7464). */
export interface Outcome {
  /** The names of the suites around it and its own, from the outside in. */
  readonly path: readonly string[];
  readonly failure?: string | undefined;
  readonly skipped?: boolean;
}

export const RECORD_START = "\u001e";

/** Reports the tests, and those suites that failed by themselves (a hook of theirs), for `kernel-vm.ts`. */
export default async function* report(source: AsyncIterable<TestEvent>): AsyncIterable<string> {
  const path: string[] = [];
  for await (const { type, data } of source) {
    if (type === "test:start") path.splice(data.nesting, Infinity, data.name);
    if (type !== "test:pass" && type !== "test:fail") continue;
    path.splice(data.nesting, Infinity, data.name);
    const failure: (Error & { failureType?: string }) | undefined = type === "test:fail" ? data.details.error : undefined;
    const isSuite = data.details.type === "suite";
    if (isSuite && (!failure || failure.failureType === "subtestsFailed")) continue;
    const outcome: Outcome = {
      path,
      failure: failure && inspect(failure.cause ?? failure),
      skipped: data.skip !== undefined || data.todo !== undefined,
    };
    yield `\n${RECORD_START}${JSON.stringify(outcome)}\n`;
  }
}
