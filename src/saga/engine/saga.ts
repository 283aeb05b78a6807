/**
 * A saga is a list of durable steps, each with its undo: read down for what happens, up for what is undone.
 * It ends in one of two ways: all steps done, or all that was begun undone. A crash does not end it: the next
 * process goes on from the journal, in the direction in which the dead one went.
 */
export interface Saga<Context> {
  readonly name: string;
  readonly steps: readonly Step<Context>[];
}

/**
 * Both halves may run again after a crash, so both are written to be repeatable: `run` finds what it made the
 * last time, `undo` accepts that there is nothing left to remove.
 */
export interface Step<Context> {
  readonly name: string;
  run(context: Context, scope: StepScope): Promise<void>;
  undo?(context: Context, because: Failure): Promise<void>;
  /** False where only the process that began it can do it, since it feeds on a stream: after a crash the saga is undone. */
  readonly resumable?: boolean;
}

export interface StepScope {
  /** Ends the step soon: the operation was cancelled, or the process is asked to stop. */
  readonly signal: AbortSignal;
  /** From 0 to 1 within this step. */
  progress(fraction: number): void;
}

/** What survives a crash. Entries are on stable storage, all or none, before `append` returns. */
export interface Journal {
  read(): Promise<readonly Entry[]>;
  append(entries: readonly Entry[]): Promise<void>;
}

export type Entry =
  | { readonly step: string; readonly event: "started" | "done" | "undone" }
  | { readonly step: string; readonly event: "failed"; readonly because: Failure };

/** Why a saga was undone: a code of the errors table where it is one, and words. */
export interface Failure {
  readonly code?: string | undefined;
  readonly message: string;
}

/** `suspended`: the process was asked to stop; another goes on later. */
export type Outcome =
  | { readonly ended: "done" }
  | { readonly ended: "undone"; readonly because: Failure }
  | { readonly ended: "suspended" };

export interface RunOptions {
  /** Aborted with `SUSPEND` it leaves the saga where it is; with any other reason the saga is undone because of that reason. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (step: string, fraction: number) => void;
}

/** The reason of an abort that means: stop here, the journal stands, somebody goes on later. */
export const SUSPEND = Symbol("suspend");

/**
 * Goes on from where the journal stands, forward or back, to the end.
 * Throws where an undo or the journal throws; the saga then stays where it is, for the next attempt.
 */
export async function runSaga<C>(saga: Saga<C>, context: C, journal: Journal, options: RunOptions = {}): Promise<Outcome> {
  const history = [...(await journal.read())];
  const append = async (...entries: Entry[]) => {
    await journal.append(entries);
    history.push(...entries);
  };
  const because = failureIn(history) ?? (await goForward({ saga, context, history, append, options }));
  if (because === "suspended") return { ended: "suspended" };
  if (because === undefined) return { ended: "done" };
  await goBack({ saga, context, history, append, options }, because);
  return { ended: "undone", because };
}

interface Course<C> {
  readonly saga: Saga<C>;
  readonly context: C;
  readonly history: readonly Entry[];
  readonly append: (...entries: Entry[]) => Promise<void>;
  readonly options: RunOptions;
}

/** Runs the steps that are not done yet. Undefined when all are done, else why one failed. */
async function goForward<C>({ saga, context, history, append, options }: Course<C>): Promise<Failure | "suspended" | undefined> {
  const done = stepsWith("done", history);
  const started = stepsWith("started", history);
  const left = saga.steps.filter((step) => !done.has(step.name));
  // Done and the next start are one write: there is nothing to be known between them.
  let finished: Entry[] = [];
  for (const step of left) {
    if (options.signal?.aborted && options.signal.reason === SUSPEND) {
      if (finished.length > 0) await append(...finished);
      return "suspended";
    }
    const interrupted = started.has(step.name) && step.resumable === false;
    if (!started.has(step.name)) finished.push({ step: step.name, event: "started" });
    if (finished.length > 0) await append(...finished);
    const because = interrupted ? INTERRUPTED : await attempt(step, context, options);
    if (because === "suspended") return "suspended";
    if (because) {
      await append({ step: step.name, event: "failed", because });
      return because;
    }
    finished = [{ step: step.name, event: "done" }];
  }
  if (finished.length > 0) await append(...finished);
  return undefined;
}

const INTERRUPTED: Failure = { code: "interrupted", message: "The process ended in the middle of it." };

async function attempt<C>(step: Step<C>, context: C, { signal, onProgress }: RunOptions): Promise<Failure | "suspended" | undefined> {
  try {
    signal?.throwIfAborted();
    await step.run(context, {
      signal: signal ?? new AbortController().signal,
      progress: (fraction) => onProgress?.(step.name, fraction),
    });
    return undefined;
  } catch (error) {
    if (!signal?.aborted) return asFailure(error);
    if (signal.reason !== SUSPEND) return asFailure(signal.reason);
    return step.resumable === false ? INTERRUPTED : "suspended";
  }
}

/** Undoes, last first, whatever was started: a step that failed may have done half of its work. */
async function goBack<C>({ saga, context, history, append }: Course<C>, because: Failure): Promise<void> {
  const started = stepsWith("started", history);
  const undone = stepsWith("undone", history);
  for (const step of saga.steps.toReversed()) {
    if (!started.has(step.name) || undone.has(step.name)) continue;
    await step.undo?.(context, because);
    await append({ step: step.name, event: "undone" });
  }
}

function stepsWith(event: Entry["event"], history: readonly Entry[]): Set<string> {
  return new Set(history.filter((entry) => entry.event === event).map(({ step }) => step));
}

function failureIn(history: readonly Entry[]): Failure | undefined {
  for (const entry of history) if (entry.event === "failed") return entry.because;
  return undefined;
}

function asFailure(error: unknown): Failure {
  if (!(error instanceof Error)) return { message: String(error) };
  return { code: "code" in error ? String(error.code) : undefined, message: error.message };
}
