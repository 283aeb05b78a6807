import { createHash, type Hash } from "node:crypto";
import { parentPort } from "node:worker_threads";

/** What runs in the threads of `hash-workers.ts`. Each `block` and `digest` is answered once, in order. */

export type HashAlgorithm = "md5" | "sha512";

export type HashRequest = { readonly stream: number } & (
  | { readonly kind: "begin"; readonly algorithm: HashAlgorithm }
  /** In shared memory: it must not change before the answer. */
  | { readonly kind: "block"; readonly block: Uint8Array }
  | { readonly kind: "digest" }
  | { readonly kind: "end" }
);

/** `digest`, in hexadecimal, only in the answer to `digest`. */
export interface HashAnswer {
  readonly stream: number;
  readonly digest?: string;
}

const hashes = new Map<number, Hash>();

parentPort?.on("message", (request: HashRequest) => {
  const { stream } = request;
  switch (request.kind) {
    case "begin":
      hashes.set(stream, createHash(request.algorithm));
      return;
    case "block":
      hashOf(stream).update(request.block);
      return answer({ stream });
    case "digest":
      return answer({ stream, digest: hashOf(stream).digest("hex") });
    case "end":
      hashes.delete(stream);
      return;
    default:
      request satisfies never;
  }
});

function hashOf(stream: number): Hash {
  const hash = hashes.get(stream);
  if (!hash) throw new Error(`Broken invariant: there is no hash ${stream}`);
  return hash;
}

function answer(message: HashAnswer): void {
  parentPort?.postMessage(message);
}
