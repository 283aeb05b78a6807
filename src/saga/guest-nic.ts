import { createHash } from "node:crypto";
import type { GuestNic } from "#/vm/guest.ts";

/** Where the guests of a host are connected, as `servers.network` says: `user`, or a kind and a name (`bridge:br0`). */
export function guestNic(network: string, serverId: string, model?: string): GuestNic {
  const [kind = "", name = ""] = network.split(":");
  const nic = { mac: macOf(serverId), model };
  return kind === "network" || kind === "bridge" ? { kind, name, ...nic } : { kind: "user", ...nic };
}

/** The same for each start of the server: guests remember their network by it. With OpenStack's own prefix. */
function macOf(serverId: string): string {
  const hash = createHash("sha256").update(serverId).digest();
  return ["fa", "16", "3e", ...[0, 1, 2].map((at) => hash.toString("hex", at, at + 1))].join(":");
}
