import { AppError } from "#/domain/errors.ts";
import type { LibvirtCalls } from "#/vm/libvirt/calls.ts";
import type { LimitedCall } from "#/vm/libvirt/connection.ts";
import { disksOf, targetOf } from "#/vm/libvirt/domain-reading.ts";
import type { DomainRef } from "#/vm/libvirt/protocol.ts";
import { isActiveState } from "#/vm/libvirt/states.ts";
import { parseXml, type XmlElement } from "#/vm/libvirt/xml.ts";

/** What those who work on a domain's disks ask of it first. */

export async function isActive(calls: LibvirtCalls, domain: DomainRef, limits: LimitedCall): Promise<boolean> {
  return isActiveState((await calls.state(domain, limits)).state);
}

export async function findDisk(calls: LibvirtCalls, domain: DomainRef, which: "live" | "inactive", target: string, limits: LimitedCall): Promise<XmlElement | undefined> {
  const xml = parseXml(await calls.xml(domain, which, limits));
  return disksOf(xml).find((disk) => targetOf(disk) === target);
}

/** The disk as the running guest has it; `conflict`, `not_found`. */
export async function requireLiveDisk(calls: LibvirtCalls, domain: DomainRef, target: string, limits: LimitedCall): Promise<XmlElement> {
  if (!(await isActive(calls, domain, limits))) throw new AppError("conflict", "it does not run");
  const disk = await findDisk(calls, domain, "live", target, limits);
  if (!disk) throw new AppError("not_found", `it has no disk ${target}`);
  return disk;
}
