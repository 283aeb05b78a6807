/** The least that an HTTP server of Node can do with bytes, in a process of its own: drops bodies, sends blocks. Tells its port. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { randomBlocks } from "./streams.ts";

/** GET /SIZE answers with SIZE bytes; PUT takes any. */
const server = createServer((asked, answer) => {
  if (asked.method === "PUT") return void asked.resume().once("end", () => answer.writeHead(204).end());
  const blocks = Readable.from(randomBlocks(Number(asked.url?.slice(1))), { objectMode: true, highWaterMark: 2 });
  pipeline(blocks, answer).catch(() => answer.destroy());
});

server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
process.once("disconnect", () => process.exit());
