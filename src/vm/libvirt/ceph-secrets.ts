import { readFile } from "node:fs/promises";
import { type RbdNode, rbdSetting } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import type { GuestDisk } from "#/vm/guest.ts";
import type { LibvirtCalls } from "#/vm/libvirt/calls.ts";
import type { LimitedCall } from "#/vm/libvirt/connection.ts";
import { cephSecretId, rbdNodesOf } from "#/vm/libvirt/disk-xml.ts";
import { element, textElement } from "#/vm/libvirt/xml.ts";

/**
 * Gives libvirt the keys of the Ceph users that the disks need, under the UUIDs that `diskXml` names. Libvirt keeps them for root alone, over
 * its own restarts too, and passes them to QEMU encrypted.
 */
export async function provideCephSecrets(calls: LibvirtCalls, disks: readonly GuestDisk[], limits?: LimitedCall): Promise<void> {
  const nodes = new Map(disks.flatMap(({ node }) => rbdNodesOf(node)).map((node) => [cephSecretId(node), node]));
  for (const [uuid, node] of nodes) {
    const keyring = rbdSetting(node, "keyring");
    if (keyring === undefined) continue; // A cluster without cephx.
    const usage = `mica client.${node.user} ${uuid}`;
    await calls.setCephSecret(uuid, usage, secretXml(uuid, usage), await readKey(keyring, node), limits);
  }
}

function secretXml(uuid: string, usage: string): string {
  return element("secret", { ephemeral: "no", private: "yes" }, [textElement("uuid", uuid), element("usage", { type: "ceph" }, [textElement("name", usage)])]);
}

/** The user's key of a keyring (ceph-authtool(8)), an INI file; never shown. */
async function readKey(path: string, { user }: RbdNode): Promise<Buffer> {
  const text = await readFile(path, "utf8").catch((cause: Error) => {
    throw new AppError("pool_forbidden", `the keyring ${path} cannot be read: ${cause.message}`, { cause });
  });
  const section = text.split(/^\s*\[/m).find((part) => part.startsWith(`client.${user}]`));
  const key = /^\s*key\s*=\s*(\S+)/m.exec(section ?? "")?.[1];
  if (!key) throw new AppError("pool_forbidden", `the keyring ${path} has no key of client.${user}`);
  return Buffer.from(key, "base64");
}
