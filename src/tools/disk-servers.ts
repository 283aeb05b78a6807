import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { BlockNode } from "#/domain/block-node.ts";
import { type DiskServer, serveDisk } from "#/tools/qemu-nbd.ts";

/** A disk as it is opened for those who connect. */
export interface ServedDisk {
  readonly node: BlockNode;
  readonly mode: "read" | "write";
  /** `writeback` is for clients that give up all they wrote when a connection is lost. Without it each write is on stable storage before it is answered. */
  readonly cache?: "writeback";
}

interface Shared {
  readonly name: string;
  readonly server: Promise<DiskServer>;
  users: number;
  readonly connections: Set<Socket>;
  /** Whoever comes is sent away. */
  isClosing: boolean;
  /** The last of its users has left. */
  readonly left: PromiseWithResolvers<void>;
}

/**
 * A confined qemu-nbd for each disk and mode, however many are connected with it; it ends when the last of them has left. Names are paths: those that
 * differ only behind their last slash are ways to open the same disk.
 */
export class DiskServers implements AsyncDisposable {
  /** By name, mode and node: a disk that became another file has another server from then on. */
  readonly #shared = new Map<string, Shared>();
  /** With the names of what they had open. */
  readonly #ending = new Map<Promise<void>, string>();

  /** A connection with the disk's server, before its greeting. Errors: as `serveDisk()`. */
  async connect(name: string, disk: ServedDisk): Promise<Socket> {
    const key = JSON.stringify([name, disk]);
    const shared = this.#shared.get(key) ?? this.#begin(key, name, disk);
    shared.users += 1;
    try {
      const socket = connect({ path: (await shared.server).path });
      await once(socket, "connect");
      shared.connections.add(socket);
      socket.once("close", () => {
        shared.connections.delete(socket);
        this.#leave(key, shared);
      });
      if (shared.isClosing) socket.destroy();
      return socket;
    } catch (error) {
      this.#leave(key, shared);
      throw error;
    }
  }

  /** Waits until no server of the disk is about to end any more; those that are in use do not count. */
  async released(disk: string): Promise<void> {
    await Promise.all([...this.#ending].filter(([, name]) => diskOf(name) === disk).map(([end]) => end));
  }

  /** Sends away all who are connected with the disk, or about to be, and waits until no program has it open any more. */
  async close(disk: string): Promise<void> {
    const open = [...this.#shared.values()].filter(({ name }) => diskOf(name) === disk);
    for (const shared of open) {
      shared.isClosing = true;
      for (const connection of shared.connections) connection.destroy();
    }
    await Promise.all(open.map(({ left }) => left.promise));
    await this.released(disk);
  }

  /** Whoever is still connected must have been sent away. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#ending.keys());
  }

  #begin(key: string, name: string, disk: ServedDisk): Shared {
    // The one before may have it locked still.
    const server = this.released(diskOf(name)).then(() => serveDisk(disk.node, { ...disk, name }));
    const shared = { name, server, users: 0, connections: new Set<Socket>(), isClosing: false, left: Promise.withResolvers<void>() };
    this.#shared.set(key, shared);
    return shared;
  }

  #leave(key: string, shared: Shared): void {
    shared.users -= 1;
    if (shared.users > 0) return;
    this.#shared.delete(key);
    const end = shared.server
      .then((server) => server[Symbol.asyncDispose]())
      .catch(() => {}) // Who wanted to connect has heard why.
      .finally(() => this.#ending.delete(end));
    this.#ending.set(end, shared.name);
    shared.left.resolve();
  }
}

function diskOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf("/")));
}
