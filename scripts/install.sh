#!/bin/sh
# Installs the programs that Mica runs, as far as they are missing: scripts/install.sh [real|bench]
# With "real" also what test/real and test/openstack need, with "bench" also what the numbers are held against. Does nothing, quickly, when all is there.
set -eu
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" # where Debian keeps mke2fs, and users do not look

# command:package, or the pattern of a file:package.
needed="
qemu-img:qemu-utils
bwrap:bubblewrap
prlimit:util-linux
mke2fs:e2fsprogs
debugfs:e2fsprogs
sfdisk:fdisk
genisoimage:genisoimage
openssl:openssl
"
real="
openstack:python3-openstackclient
cinder:python3-cinderclient
glance:python3-glanceclient
mkfs.xfs:xfsprogs
mkfs.btrfs:btrfs-progs
mount:mount
curl:curl
ceph-mon:ceph-mon
ceph-mgr:ceph-mgr
ceph-osd:ceph-osd
rbd:ceph-common
radosgw:radosgw
/usr/lib/*/qemu/block-rbd.so:qemu-block-extra
qemu-system-x86_64:qemu-system-x86
libvirtd:libvirt-daemon
/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so:libvirt-daemon-driver-qemu
virsh:libvirt-clients
syslinux:syslinux
mformat:mtools
mkfs.ext4:e2fsprogs
"

bench="
pigz:pigz
zstd:zstd
"

missing() {
  set -f # Patterns stay what they are until each is looked for.
  for pair in $1; do
    is_there "${pair%%:*}" || echo "${pair#*:}"
  done | sort -u
  set +f
}

is_there() {
  case $1 in
    /*) sh -c "ls $1" >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

[ "${1:-}" = real ] && needed="$needed$real"
[ "${1:-}" = bench ] && needed="$needed$real$bench"
packages=$(missing "$needed")
[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "Missing on this machine, and not Debian: install what Debian calls" $packages "and run this again." >&2
  exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
  as_root=sudo
  command -v sudo >/dev/null 2>&1 || { echo "Missing:" $packages ". Run as root: apt-get install" $packages >&2; exit 1; }
fi
echo "Installing" $packages
export DEBIAN_FRONTEND=noninteractive
# The package lists of a fresh machine are empty: try without, then with a fresh one.
$as_root apt-get install -y -qq --no-install-recommends $packages >/dev/null 2>&1 || {
  $as_root apt-get update -qq
  $as_root apt-get install -y -qq --no-install-recommends $packages >/dev/null
}
still=$(missing "$needed")
[ -z "$still" ] || { echo "Still missing after the installation:" $still >&2; exit 1; }
