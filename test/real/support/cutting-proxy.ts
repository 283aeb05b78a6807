import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** Passes connections on to a server, and cuts each after so many bytes from there: a network that breaks in the middle. */
export interface CuttingProxy extends AsyncDisposable {
  readonly url: string;
  /** How many connections were cut. */
  cuts: number;
}

export async function startCuttingProxy(to: string, bytesMax: number): Promise<CuttingProxy> {
  const { hostname, port } = new URL(to);
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    let bytes = 0;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => [client, upstream].forEach((other) => other.destroy()));
    }
    client.pipe(upstream);
    upstream.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= bytesMax) return void client.write(chunk);
      proxy.cuts += 1;
      client.destroy();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const dispose = async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  const proxy: CuttingProxy = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, cuts: 0, [Symbol.asyncDispose]: dispose };
  return proxy;
}
