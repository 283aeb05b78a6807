/**
 * The same bytes in blocks of `sizeBytes`, of which only the last is shorter. `buffers` blocks are used by turns: one may
 * be kept until so many more were taken.
 */
export async function* inBlocks(chunks: AsyncIterable<Uint8Array>, { sizeBytes, buffers }: { sizeBytes: number; buffers: number }): AsyncIterable<Uint8Array> {
  const ring: Uint8Array[] = Array.from({ length: buffers }, () => new Uint8Array(sizeBytes));
  let block = ring[0] as Uint8Array;
  let filledBytes = 0;
  for await (const chunk of chunks) {
    for (let done = 0; done < chunk.length; ) {
      const part = chunk.subarray(done, done + sizeBytes - filledBytes);
      block.set(part, filledBytes);
      filledBytes += part.length;
      done += part.length;
      if (filledBytes < sizeBytes) continue;
      yield block;
      ring.push(ring.shift() as Uint8Array);
      block = ring[0] as Uint8Array;
      filledBytes = 0;
    }
  }
  if (filledBytes > 0) yield block.subarray(0, filledBytes);
}

/** The same chunks; tells how much of `totalBytes` has passed. */
export async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  { totalBytes, onProgress }: { totalBytes: number; onProgress?: ((fraction: number) => void) | undefined },
): AsyncIterable<Uint8Array> {
  let doneBytes = 0;
  for await (const chunk of chunks) {
    yield chunk;
    doneBytes += chunk.length;
    onProgress?.(doneBytes / totalBytes);
  }
}
