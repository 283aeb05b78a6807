#!/bin/bash
# Builds a small Linux guest of Debian's cloud kernel, busybox and qemu-guest-agent: guest-make.sh CACHE
# Prints the folder in CACHE that has it. The packages are unpacked, never installed; nothing is mounted; 10 s, and none once it is there.
#
#   vmlinuz, initrd.img   the kernel, and the initramfs that finds the root file system
#   root.ext4             the root file system, not partitioned: boots with these two, and "console=ttyS0" on the command line
#   disk.raw              a disk that boots by itself with a BIOS: boot partition with syslinux, and the same root file system
#
# guest/ has what runs in it: it prints GUEST-READY with facts on its serial console, counts its boots, and keeps a journal on its disk.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd -P)
cache=${1:?which cache}
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C MTOOLS_SKIP_CHECK=1

ROOT_MIB=48
BOOT_MIB=24
# Silent, and without checks that a guest without a past does not need: each costs an emulated processor up to a second.
COMMAND_LINE="console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable random.trust_cpu=on cryptomgr.notests"
FIRST_MODULES="virtio_pci virtio_blk virtio_scsi sd_mod ata_piix ahci"
MODULES="$FIRST_MODULES virtio_console virtio_net virtio_rng button evdev cdrom sr_mod isofs vfat nls_cp437 nls_ascii"

fail() { echo "guest-make: $*" >&2; exit 1; }

version=$({ cat "$0" "$here"/guest/initramfs-init "$here"/guest/{shutdown,chpasswd}; find "$here/guest/etc" "$here/guest/data" -type f -exec cat {} +; } | sha256sum | cut -c1-16)
made=$cache/$version
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ -e "$made/disk.raw" ]; then echo "$made"; exit; fi
work=$(mktemp -d "$cache/making.XXXXXX")
trap 'rm -rf "$work"' EXIT

kernel_package() { apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }'; }

# apt keeps the packages in the current folder.
unpack() {
  local kernel
  kernel=$(kernel_package)
  [ -n "$kernel" ] || { apt-get -q update >/dev/null; kernel=$(kernel_package); }
  [ -n "$kernel" ] || fail "apt knows no linux-image-cloud-amd64: this needs Debian on amd64"
  mkdir -p "$work/packages" "$work/tree"
  (cd "$work/packages" && apt-get -q -o APT::Sandbox::User=root download "$kernel" busybox-static qemu-guest-agent >log 2>&1) || { cat "$work/packages/log" >&2; fail "cannot download the packages"; }
  for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$work/tree"; done
}
unpack
busybox=$work/tree/bin/busybox
release=$(ls "$work/tree/lib/modules")

# add_modules TREE NAME…: the modules with all that they need, in the order in which they are found.
add_modules() {
  local tree=$1 file needs
  shift
  mkdir -p "$tree/lib/modules/$release"
  local todo=("$@")
  while [ ${#todo[@]} -gt 0 ]; do
    file=$(find "$work/tree/lib/modules" -name "${todo[0]//_/[_-]}.ko" -print -quit)
    todo=("${todo[@]:1}")
    # Not in this kernel: built in.
    [ -n "$file" ] && [ ! -e "$tree/lib/modules/$release/${file##*/}" ] || continue
    cp "$file" "$tree/lib/modules/$release/"
    needs=$(tr '\0' '\n' <"$file" | sed -n '/^depends=/ { s///p; q }' || true)
    todo+=(${needs//,/ })
  done
  (cd "$tree" && "$busybox" depmod -b . "$release")
}

# new_tree TREE: folders, and busybox.
new_tree() {
  mkdir -p "$1"/{bin,sbin,usr/sbin,etc,dev,proc,sys,run,tmp,var/run,root,mnt}
  cp "$busybox" "$1/bin/"
}

initramfs=$work/initramfs
new_tree "$initramfs"
add_modules "$initramfs" $FIRST_MODULES
cp "$here/guest/initramfs-init" "$initramfs/init"
chmod 755 "$initramfs/init"
(cd "$initramfs" && find . | "$busybox" cpio -o -H newc -R 0:0 2>/dev/null) | gzip -n >"$work/initrd.img"
cp "$work/tree/boot/vmlinuz-$release" "$work/vmlinuz"

root=$work/root
new_tree "$root"
"$busybox" --list | while read -r name; do
  case $name in busybox | dpkg | dpkg-deb | rpm | rpm2cpio) ;; *) ln -s busybox "$root/bin/$name" ;; esac
done
for name in init poweroff reboot; do ln -s /bin/busybox "$root/sbin/$name"; done
cp -r "$here/guest/etc" "$here/guest/data" "$root/"
cp "$here"/guest/{shutdown,chpasswd} "$root/sbin/"
find "$root/etc" "$root/data" "$root"/sbin/{shutdown,chpasswd} -type f -exec chmod 755 {} +
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root::19000:0:99999:7:::' >"$root/etc/shadow"
echo 'root:x:0:' >"$root/etc/group"
add_modules "$root" $MODULES

# The agent, with the libraries that this machine has for it: QEMU itself needs the same.
cp "$work/tree/usr/sbin/qemu-ga" "$root/usr/sbin/"
libraries=$(ldd "$root/usr/sbin/qemu-ga")
! grep "not found" <<<"$libraries" >&2 || fail "libraries for qemu-guest-agent are missing here"
grep -o '/[^ ]*' <<<"$libraries" | sort -u | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done

truncate -s "${ROOT_MIB}M" "$work/root.ext4"
mkfs.ext4 -q -F -L guest -E root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0 -J size=4 -d "$root" "$work/root.ext4"

# The boot partition. syslinux writes into a file by itself, without mounting it.
truncate -s "${BOOT_MIB}M" "$work/boot"
mformat -i "$work/boot" -v BOOT -T $((BOOT_MIB * 2048)) -h 64 -s 32 -H 2048 ::
printf 'DEFAULT linux\nPROMPT 0\nTIMEOUT 0\nLABEL linux\n KERNEL vmlinuz\n APPEND initrd=initrd.img %s\n' "$COMMAND_LINE" >"$work/syslinux.cfg"
mcopy -i "$work/boot" "$work/vmlinuz" "$work/initrd.img" "$work/syslinux.cfg" ::
syslinux --install "$work/boot"

disk=$work/disk.raw
truncate -s $((1 + BOOT_MIB + ROOT_MIB))M "$disk"
printf 'label: dos\nstart=2048, size=%d, type=6, bootable\nstart=%d, type=83\n' $((BOOT_MIB * 2048)) $(((1 + BOOT_MIB) * 2048)) |
  sfdisk -q --no-reread --no-tell-kernel "$disk"
dd if=/usr/lib/SYSLINUX/mbr.bin of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$work/boot" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$work/root.ext4" of="$disk" bs=1M seek=$((1 + BOOT_MIB)) conv=notrunc,sparse status=none

rm -rf "$made"
mkdir "$work/made"
mv "$work"/{vmlinuz,initrd.img,root.ext4,disk.raw} "$work/made/"
mv -T "$work/made" "$made"
# Older ones are of no more use.
find "$cache" -mindepth 1 -maxdepth 1 -type d ! -name "$version" ! -path "$work" -mtime +7 -exec rm -rf {} +
echo "$made"
