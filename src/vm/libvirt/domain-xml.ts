import { KiB } from "#/lib/units.ts";
import { guestName, type GuestBoot, type GuestNic, type GuestSpec } from "#/vm/guest.ts";
import { diskXml } from "#/vm/libvirt/disk-xml.ts";
import { child, element, textElement, type XmlElement } from "#/vm/libvirt/xml.ts";

/** What of a domain is the host's and the operator's to say. */
export interface HostChoices {
  readonly virtType: "kvm" | "qemu";
  /** `x86_64`, `aarch64`. */
  readonly architecture: string;
  readonly cpuMode: "host-model" | "host-passthrough" | "none";
  readonly machineType: string;
  readonly pciePortCount: number;
  /** Which installation the domain belongs to: several may share a host. */
  readonly owner: string;
}

/** The domain of a guest (formatdomain.html). Everything that a user wrote is escaped. */
export function domainXml(spec: GuestSpec, choices: HostChoices): string {
  const { id, title, memoryBytes, vcpuCount, boot } = spec;
  return element("domain", { type: choices.virtType }, [
    textElement("name", guestName(id)),
    textElement("uuid", id),
    title && textElement("title", title.replaceAll(/[\r\n]+/g, " ")), // Libvirt refuses titles of more than one line.
    element("metadata", {}, [element(METADATA, { [`xmlns:${NAMESPACE_PREFIX}`]: NAMESPACE, owner: choices.owner })]),
    textElement("memory", Math.ceil(memoryBytes / KiB), { unit: "KiB" }),
    textElement("vcpu", vcpuCount),
    osXml(boot, spec.machineType ?? choices.machineType, choices.architecture),
    element("features", {}, [element("acpi"), isX86(choices) ? element("apic") : undefined]),
    cpuXml(spec.cpuModel, choices),
    clockXml(choices),
    textElement("on_poweroff", "destroy"),
    textElement("on_reboot", "restart"),
    textElement("on_crash", "destroy"),
    devicesXml(spec, choices),
  ]);
}

const NAMESPACE_PREFIX = "mica";
const NAMESPACE = "urn:mica:guest:1";
const METADATA = `${NAMESPACE_PREFIX}:guest`;

/** The installation that defined the domain; undefined where that was somebody else. */
export function ownerOf(domain: XmlElement): string | undefined {
  return child(domain, "metadata", METADATA)?.attributes["owner"];
}

function isX86({ architecture }: HostChoices): boolean {
  return architecture === "x86_64";
}

function osXml(boot: GuestBoot, machine: string, arch: string): string {
  const type = textElement("type", "hvm", { arch, machine });
  if (boot.kind === "firmware") return element("os", boot.firmware === "uefi" ? { firmware: "efi" } : {}, [type]);
  const { kernelPath, ramdiskPath, commandLine } = boot;
  return element("os", {}, [type, textElement("kernel", kernelPath), ramdiskPath && textElement("initrd", ramdiskPath), textElement("cmdline", commandLine)]);
}

/** Without KVM there is one model that every QEMU emulates. */
function cpuXml(model: string | undefined, { virtType, cpuMode, architecture }: HostChoices): string | undefined {
  const named = model ?? (virtType === "kvm" || architecture !== "x86_64" ? undefined : "qemu64");
  if (named) return element("cpu", { mode: "custom", match: "exact", check: "none" }, [textElement("model", named)]);
  return virtType === "kvm" && cpuMode !== "none" ? element("cpu", { mode: cpuMode }) : undefined;
}

/** As Nova sets it (nova/virt/libvirt/driver.py `_set_clock`): ticks that a busy host lost are made up for. */
function clockXml(choices: HostChoices): string {
  const timers = [{ name: "pit", tickpolicy: "delay" }, { name: "rtc", tickpolicy: "catchup" }, { name: "hpet", present: "no" }];
  return element("clock", { offset: "utc" }, choices.virtType === "kvm" && isX86(choices) ? timers.map((timer) => element("timer", timer)) : []);
}

function devicesXml(spec: GuestSpec, choices: HostChoices): string {
  return element("devices", {}, [
    ...controllersXml(spec, choices),
    ...spec.disks.map(diskXml),
    ...spec.nics.map(nicXml),
    element("serial", { type: "file" }, [element("source", { path: spec.consoleLogPath, append: "on" }), element("target", { port: 0 })]),
    spec.guestAgent ? element("channel", { type: "unix" }, [element("target", { type: "virtio", name: "org.qemu.guest_agent.0" })]) : undefined,
    spec.videoModel ? element("video", {}, [element("model", { type: spec.videoModel })]) : undefined,
    spec.rng ? element("rng", { model: "virtio" }, [textElement("backend", "/dev/urandom", { model: "random" })]) : undefined,
    element("memballoon", { model: "none" }),
  ]);
}

/** QEMU's `q35` and `virt` machines take hot-plugged devices at ports that must be there from the start; `pc` has slots enough. */
function controllersXml({ disks, machineType, scsiModel }: GuestSpec, choices: HostChoices): string[] {
  const has = (bus: string) => disks.some((disk) => disk.bus === bus);
  const ports = /q35|virt/.test(machineType ?? choices.machineType) ? choices.pciePortCount : 0;
  return [
    ...Array.from({ length: ports }, () => element("controller", { type: "pci", model: "pcie-root-port" })),
    ...(scsiModel || has("scsi") ? [element("controller", { type: "scsi", index: 0, model: scsiModel ?? "virtio-scsi" })] : []),
    ...(has("usb") ? [] : [element("controller", { type: "usb", model: "none" })]),
  ];
}

function nicXml(nic: GuestNic): string {
  const source = nic.kind === "user" ? undefined : element("source", { [nic.kind]: nic.name });
  // Guests boot from disks: a card that offers the network too would only cost time.
  const rom = element("rom", { enabled: "no" });
  return element("interface", { type: nic.kind }, [element("mac", { address: nic.mac }), source, element("model", { type: nic.model ?? "virtio" }), rom]);
}
