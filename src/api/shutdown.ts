import type { Server } from "./server.ts";

/**
 * Stops the server: no new connections, idle ones end at once, and requests under way have `limitMs` to finish before they are
 * cut off. Resolves when the last connection is closed.
 */
export async function closeServer(app: Server, limitMs: number): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), limitMs);
  try {
    await app.close();
  } finally {
    clearTimeout(timer);
  }
}
