import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type BlockNode, overlayNode, rbdNode, remoteNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import { GiB, MiB } from "#/lib/units.ts";
import type { GuestDisk, GuestSpec } from "#/vm/guest.ts";
import { diskOfAlias, diskXml, storageKey } from "#/vm/libvirt/disk-xml.ts";
import { domainXml, type HostChoices, ownerOf } from "#/vm/libvirt/domain-xml.ts";
import { child, parseXml } from "#/vm/libvirt/xml.ts";

const raw: BlockNode = { driver: "raw", file: { driver: "file", filename: "/disks/base" } };
const ceph = rbdNode({ pool: "vms", image: "disk", conf: "/etc/ceph/ceph.conf", user: "volumes", settings: { keyring: "/etc/ceph/keyring" } });
const disk = (node: BlockNode, changes: Partial<GuestDisk> = {}): GuestDisk => ({ target: "vda", bus: "virtio", device: "disk", node, ...changes });
const spec: GuestSpec = {
  id: "0b7f1c1e-8a34-4f2e-9d5d-3f0f7d5f2a11",
  title: "<web>",
  memoryBytes: GiB,
  vcpuCount: 2,
  boot: { kind: "firmware", firmware: "bios" },
  disks: [disk(raw, { bootOrder: 1 })],
  nics: [],
  consoleLogPath: "/logs/console",
  guestAgent: true,
  rng: false,
};
const choices: HostChoices = { virtType: "qemu", architecture: "x86_64", cpuMode: "host-model", machineType: "pc", pciePortCount: 2, owner: "here & there" };

describe("diskXml()", () => {
  it("names every format of the chain, and ends it", () => {
    const { source } = parseXml(diskXml(disk(overlayNode("/disks/o&verlay", overlayNode("/disks/middle", raw)), { serial: "abc" })));
    assert.equal(
      source,
      "<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none' error_policy='stop' rerror_policy='stop'/>" +
        "<source file='/disks/o&#38;verlay'/>" +
        "<backingStore type='file'><format type='qcow2'/><source file='/disks/middle'/>" +
        "<backingStore type='file'><format type='raw'/><source file='/disks/base'/><backingStore/></backingStore></backingStore>" +
        "<target dev='vda' bus='virtio'/><serial>abc</serial><alias name='ua-disk-vda'/></disk>",
    );
  });

  it("knows devices, parts of files, sockets of block servers, those on other hosts, and images in Ceph with a secret by its id alone", () => {
    const sourceOf = (node: BlockNode) => child(parseXml(diskXml(disk(node))), "source")?.source;
    assert.equal(sourceOf({ driver: "raw", file: { driver: "host_device", filename: "/dev/vg/disk" } }), "<source dev='/dev/vg/disk'/>");
    assert.equal(sourceOf({ ...raw, driver: "raw", size: 512 } as BlockNode), "<source file='/disks/base'><slices><slice type='storage' offset='0' size='512'/></slices></source>");
    const nbd: BlockNode = { driver: "nbd", server: { type: "unix", path: "/run/disk.sock" }, export: "disk" };
    assert.equal(sourceOf({ driver: "raw", file: nbd }), "<source protocol='nbd' name='disk'><host transport='unix' socket='/run/disk.sock'/><reconnect delay='30'/></source>");
    const remote = remoteNode({ host: "hostb", port: 10809, export: "fast/disk/raw/write", tlsDir: "/etc/mica/tls" });
    assert.equal(sourceOf(remote), "<source protocol='nbd' name='fast/disk/raw/write' tls='yes'><host name='hostb' port='10809'/><reconnect delay='30'/></source>");
    assert.match(
      String(sourceOf(ceph)),
      /^<source protocol='rbd' name='vms\/disk'><config file='\/etc\/ceph\/ceph.conf'\/><auth username='volumes'><secret type='ceph' uuid='[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}'\/><\/auth><\/source>$/,
    );
  });

  it("says limits, discards, sharing and what cannot be written", () => {
    const xml = diskXml(disk(raw, { limits: { totalIops: 100, readBytesPerSecond: MiB, writeIops: 0 }, discard: true, shareable: true, readOnly: true, cache: "writeback" }));
    assert.match(xml, /<iotune><read_bytes_sec>1048576<\/read_bytes_sec><total_iops_sec>100<\/total_iops_sec><\/iotune><readonly\/><shareable\/>/);
    assert.match(xml, /cache='writeback' error_policy='stop' rerror_policy='stop' discard='unmap'/);
    assert.match(diskXml(disk(raw, { device: "cdrom", bus: "ide", target: "hdc" })), /cache='none'\/>.*<readonly\/>/);
  });

  it("refuses what guests cannot use", () => {
    const namespaced = rbdNode({ pool: "p", namespace: "n", image: "i", conf: "c", user: "u", settings: {} });
    for (const node of [{ driver: "vmdk", file: raw } as BlockNode, namespaced]) {
      assert.throws(() => diskXml(disk(node)), (error) => error instanceof AppError && error.code === "not_supported");
    }
  });

  it("can be told from another's by its storage, and events by its alias", () => {
    const far = (host: string, name: string) => remoteNode({ host, port: 1, export: name, tlsDir: "/t" });
    const keys = [far("a", "x"), far("b", "x"), far("a", "y"), raw, { driver: "raw", file: { driver: "file", filename: "/disks/b" } } as BlockNode, ceph].map((node) => storageKey(parseXml(diskXml(disk(node)))));
    assert.equal(new Set(keys).size, 6);
    assert.equal(diskOfAlias("ua-disk-vdb"), "vdb");
    assert.equal(diskOfAlias("net0"), "net0");
  });
});

describe("domainXml()", () => {
  const read = (changes: Partial<GuestSpec> = {}, host: Partial<HostChoices> = {}) => parseXml(domainXml({ ...spec, ...changes }, { ...choices, ...host }));

  it("is the domain of the server, marked as this installation's", () => {
    const domain = read();
    assert.equal(child(domain, "name")?.text, `mica-${spec.id}`);
    assert.equal(child(domain, "title")?.text, "<web>");
    assert.deepEqual([child(domain, "memory")?.text, child(domain, "vcpu")?.text], ["1048576", "2"]);
    assert.equal(ownerOf(domain), "here & there");
    assert.equal(ownerOf(parseXml("<domain><name>other</name></domain>")), undefined);
  });

  it("emulates a processor that every host has, or shows the host's with KVM", () => {
    assert.equal(child(read(), "cpu", "model")?.text, "qemu64");
    assert.deepEqual(child(read({}, { virtType: "kvm" }), "cpu")?.attributes, { mode: "host-model" });
    assert.equal(child(read({}, { virtType: "kvm", cpuMode: "none" }), "cpu"), undefined);
    assert.equal(child(read({ cpuModel: "EPYC" }, { virtType: "kvm" }), "cpu", "model")?.text, "EPYC");
  });

  it("boots from firmware, UEFI or a kernel outside", () => {
    assert.equal(child(read(), "os")?.source, "<os><type arch='x86_64' machine='pc'>hvm</type></os>");
    assert.deepEqual(child(read({ boot: { kind: "firmware", firmware: "uefi" } }), "os")?.attributes, { firmware: "efi" });
    const os = child(read({ boot: { kind: "kernel", kernelPath: "/k", ramdiskPath: "/r", commandLine: "root=/dev/vda a=<b>" } }), "os");
    assert.deepEqual(["kernel", "initrd", "cmdline"].map((name) => child(os, name)?.text), ["/k", "/r", "root=/dev/vda a=<b>"]);
  });

  it("has ports for later disks where the machine needs them, and a controller for SCSI", () => {
    const controllers = (changes: Partial<GuestSpec>) => child(read(changes), "devices")?.children.filter(({ name }) => name === "controller").map(({ attributes }) => attributes["model"]);
    assert.deepEqual(controllers({}), ["none"]);
    assert.deepEqual(controllers({ machineType: "q35" }), ["pcie-root-port", "pcie-root-port", "none"]);
    assert.deepEqual(controllers({ disks: [disk(raw, { bus: "scsi", target: "sda" })] }), ["virtio-scsi", "none"]);
    assert.deepEqual(controllers({ scsiModel: "lsilogic", disks: [disk(raw, { bus: "usb", target: "sda" })] }), ["lsilogic"]);
  });

  it("has the network that is asked for, and nothing that boots from it", () => {
    const nics = [{ kind: "user", mac: "52:54:00:00:00:01" }, { kind: "bridge", name: "br0", mac: "52:54:00:00:00:02", model: "e1000" }] as const;
    const [user, bridge] = child(read({ nics }), "devices")?.children.filter(({ name }) => name === "interface") ?? [];
    assert.equal(user?.source, "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/><rom enabled='no'/></interface>");
    assert.equal(bridge?.source, "<interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br0'/><model type='e1000'/><rom enabled='no'/></interface>");
  });
});
