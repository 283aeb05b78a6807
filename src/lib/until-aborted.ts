/** The same chunks, ending with the signal's reason when it is aborted, even while the source keeps us waiting for the next one. */
export async function* untilAborted<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T, void, undefined> {
  const chunks = source[Symbol.asyncIterator]();
  let endWait: (reason: unknown) => void = () => {};
  const onAbort = () => endWait(signal.reason);
  // One listener for the whole stream: a race with one long promise would keep a reaction for each chunk.
  signal.addEventListener("abort", onAbort);
  try {
    for (;;) {
      signal.throwIfAborted();
      const next = await new Promise<IteratorResult<T>>((resolve, reject) => {
        endWait = reject;
        chunks.next().then(resolve, reject);
      });
      if (next.done) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    // Not awaited: a source that is stuck in `next` answers only when it is not any more.
    void Promise.resolve(chunks.return?.()).catch(() => {});
  }
}
