import { KiB } from "#/lib/units.ts";
import type { AttachedDisk } from "#/vm/driver.ts";
import { child, parseXml, type XmlElement } from "#/vm/libvirt/xml.ts";

/** What a domain's own description says. */
export interface DomainFacts {
  readonly title: string;
  readonly memoryBytes: number;
  readonly vcpuCount: number;
  readonly disks: readonly AttachedDisk[];
  readonly agentConnected: boolean;
  readonly mirrored: readonly string[];
}

export function readDomainFacts(xml: string): DomainFacts {
  const domain = parseXml(xml);
  const disks = disksOf(domain).map((disk) => ({ target: targetOf(disk), serial: child(disk, "serial")?.text }));
  return {
    title: child(domain, "title")?.text ?? "",
    memoryBytes: Number(child(domain, "memory")?.text) * KiB, // Libvirt always writes KiB.
    vcpuCount: Number(child(domain, "vcpu")?.text),
    disks,
    agentConnected: channelsOf(domain).some(({ state }) => state === "connected"),
    mirrored: disksOf(domain).filter((disk) => child(disk, "mirror")).map(targetOf),
  };
}

export function disksOf(domain: XmlElement): XmlElement[] {
  return (child(domain, "devices")?.children ?? []).filter(({ name }) => name === "disk");
}

export function targetOf(disk: XmlElement): string {
  return child(disk, "target")?.attributes["dev"] ?? "";
}

/** The file of the first serial port. */
export function consoleLogOf(xml: string): string | undefined {
  return child(parseXml(xml), "devices", "serial", "source")?.attributes["path"];
}

function channelsOf(domain: XmlElement): Readonly<Record<string, string>>[] {
  const channels = (child(domain, "devices")?.children ?? []).filter(({ name }) => name === "channel");
  return channels.map((channel) => child(channel, "target")?.attributes ?? {});
}
