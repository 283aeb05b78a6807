import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { localPath, parseShareLocations } from "#/storage/nfs/locations.ts";
import { parseMountStats } from "#/storage/nfs/mount-stats.ts";
import { mountOf, parseMountInfo } from "#/storage/nfs/mounts.ts";

/** As Linux 6.1 prints them. */
const MOUNTS = parseMountInfo(`21 1 0:19 / / rw,relatime - ext4 /dev/vda rw
36 21 0:42 / /mnt/vol rw,relatime shared:1 - nfs4 filer:/ rw,vers=4.2,rsize=262144,hard,proto=tcp,timeo=600,sec=sys,addr=10.0.0.1
37 21 0:43 / /mnt/my\\040images rw,relatime - nfs4 [fd00::1]:/exports/images/ rw,vers=4.1,softerr,addr=fd00::1
38 21 0:44 / /mnt/old rw,relatime - nfs 10.0.0.2:/old rw,vers=3,soft,addr=10.0.0.2
39 36 0:45 / /mnt/vol/inner rw - tmpfs tmpfs rw
`);

describe("the mount table", () => {
  it("tells of each NFS mount where it is, whose, which version, and how patient", () => {
    assert.deepEqual(
      MOUNTS.map(({ mountPoint, device, nfs }) => [mountPoint, device, nfs && [nfs.server, nfs.export, nfs.address, nfs.version, nfs.patience].join(" ")]),
      [
        ["/", "0:19", undefined],
        ["/mnt/vol", "0:42", "filer / 10.0.0.1 4.2 hard"],
        ["/mnt/my images", "0:43", "fd00::1 /exports/images/ fd00::1 4.1 softerr"],
        ["/mnt/old", "0:44", "10.0.0.2 /old 10.0.0.2 3 soft"],
        ["/mnt/vol/inner", "0:45", undefined],
      ],
    );
  });

  it("finds the mount of a path by whole names, the innermost one", () => {
    const deviceOf = (path: string) => mountOf(path, MOUNTS).device;
    assert.deepEqual(["/mnt/vol", "/mnt/vol/a", "/mnt/volume", "/mnt/vol/inner/a", "/"].map(deviceOf), ["0:42", "0:42", "0:19", "0:45", "0:19"]);
  });
});

describe("locations of images", () => {
  const shares = parseShareLocations(
    JSON.stringify([
      { id: "a", share_location: "nfs://10.0.0.1/glance", mountpoint: "/var/lib/glance/images/", type: "nfs" },
      { share_location: "nfs://10.0.0.7/elsewhere", mountpoint: "/srv/images", type: "nfs" },
    ]),
  );
  const path = (location: string) => localPath(location, { mounts: MOUNTS, shares });

  it("are found by the server's name or address", () => {
    assert.equal(path("nfs://filer/glance/cirros"), "/mnt/vol/glance/cirros");
    assert.equal(path("nfs://10.0.0.1:2049/glance/cirros"), "/mnt/vol/glance/cirros");
    assert.equal(path("nfs://[fd00::1]/exports/images/a%20b"), "/mnt/my images/a b");
  });

  it("are translated from the store's paths to this machine's", () => {
    assert.equal(path("file:///var/lib/glance/images/cirros"), "/mnt/vol/glance/cirros");
    assert.equal(path("file:///var/lib/glance/images/100%25"), "/mnt/vol/glance/100%");
  });

  it("stay as they are where no share is told of", () => {
    assert.equal(path("file:///mnt/vol/b.disk"), "/mnt/vol/b.disk");
  });

  it("are unknown on a server that is not mounted, outside of an export, and in other schemes", () => {
    for (const location of [
      "nfs://10.0.0.9/glance/cirros",
      "nfs://[fd00::1]/exports/images/../../etc/shadow",
      "nfs://[fd00::1]/exports/images-of-others/a",
      "file:///srv/images/cirros",
      "file:///var/lib/glance/images/../../../../srv/images/cirros",
      "http://filer/glance/cirros",
      "nfs://filer",
    ]) {
      assert.equal(path(location), undefined, location);
    }
  });
});

describe("the mount's counters", () => {
  const text = `device rootfs mounted on / with fstype rootfs
device filer:/a mounted on /mnt/a with fstype nfs4 statvers=1.1
	opts:	rw,vers=4.2
	per-op statistics
	        READ: 7 7 0 1220 1000 0 5 5 0
	        COPY: 3 3 0 700 400 0 3 3 1
device filer:/b mounted on /mnt/a/b with fstype nfs4 statvers=1.1
	        READ: 9 9 0 1220 1000 0 5 5 0
`;

  it("are those of one mount, without what failed", () => {
    assert.deepEqual([...parseMountStats(text, "/mnt/a")], [["READ", 7], ["COPY", 2]]);
    assert.deepEqual([...parseMountStats(text, "/mnt")], []);
  });
});
