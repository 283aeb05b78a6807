import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { backupXml, checkpointXml, readBackup, targetsOfCheckpoint, viewNode } from "#/vm/libvirt/backup-xml.ts";

describe("backupXml()", () => {
  const xml = backupXml({ name: "capture", folder: "/var/it's", disks: [{ target: "vda" }, { target: "vdb", since: "monday" }] });

  it("says for each disk where its old content goes, and from when on changes are told", () => {
    assert.equal(
      xml,
      "<domainbackup mode='pull'><server transport='unix' socket='/var/it&#39;s/nbd'/><disks>" +
        "<disk name='vda' backup='yes' type='file' backupmode='full' exportname='capture/vda'><scratch file='/var/it&#39;s/vda.scratch'/></disk>" +
        "<disk name='vdb' backup='yes' type='file' backupmode='incremental' incremental='monday' exportname='capture/vdb' exportbitmap='backup-vdb'><scratch file='/var/it&#39;s/vdb.scratch'/></disk>" +
        "</disks></domainbackup>",
    );
  });

  it("is read again with its name", () => {
    assert.deepEqual(readBackup(xml), { name: "capture", targets: ["vda", "vdb"], socketPath: "/var/it's/nbd" });
  });
});

describe("readBackup()", () => {
  it("gives no name to a backup of somebody else's, nor counts disks that are left out", () => {
    const disks = "<disk name='vda' backup='yes' type='file' exportname='vda' index='1'><driver type='qcow2'/></disk><disk name='vdb' backup='no'/>";
    const xml = `<domainbackup mode='pull'><server transport='unix' socket='/s'/><disks>${disks}</disks></domainbackup>`;
    assert.deepEqual(readBackup(xml), { name: "", targets: ["vda"], socketPath: "/s" });
    assert.equal(readBackup("<domainbackup mode='push'><disks><disk name='vda' backup='yes'/></disks></domainbackup>").name, "");
  });
});

describe("viewNode()", () => {
  it("is the export, or its bitmap", () => {
    const open = { name: "capture", targets: ["vda"], socketPath: "/s" };
    const file = { driver: "nbd", server: { type: "unix", path: "/s" }, export: "capture/vda" };
    assert.deepEqual(viewNode(open, "vda"), { driver: "raw", file });
    assert.deepEqual(viewNode(open, "vda", "bitmap"), { driver: "raw", file: { ...file, "x-dirty-bitmap": "qemu:dirty-bitmap:backup-vda" } });
  });
});

describe("checkpointXml()", () => {
  it("names the disks that are to remember, and is read again", () => {
    const xml = checkpointXml("monday", ["vda", "vdb"]);
    assert.equal(xml, "<domaincheckpoint><name>monday</name><disks><disk name='vda' checkpoint='bitmap'/><disk name='vdb' checkpoint='bitmap'/></disks></domaincheckpoint>");
    assert.deepEqual(targetsOfCheckpoint(xml.replace("</disks>", "<disk name='vdc' checkpoint='no'/></disks>")), ["vda", "vdb"]);
  });
});
