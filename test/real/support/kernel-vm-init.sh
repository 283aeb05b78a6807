#!/bin/bash
# The first process of the guest that kernel-vm.sh starts: puts a layer in memory over this machine's files, mounts what a
# Linux system has, runs the command and powers off. $VM_TREE: the unpacked packages; $VM_RUN: the run's folder.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

if [ "${1:-}" != inside ]; then
  mount -n -t proc proc /proc
  "$VM_TREE/usr/bin/busybox" insmod "$VM_TREE"/usr/lib/modules/*/kernel/fs/overlayfs/overlay.ko
  mount -n -t tmpfs -o size=100% tmpfs /mnt
  mkdir /mnt/packages /mnt/machine /mnt/changes /mnt/work /mnt/root
  # The packages come as a file system of their own: layers may not lie inside each other.
  mount -n -t hostfs -o "$VM_TREE" none /mnt/packages
  mount -n -t overlay -o lowerdir=/mnt/packages:/,upperdir=/mnt/changes,workdir=/mnt/work overlay /mnt/root
  mount -n --move /proc /mnt/root/proc
  mount -n --move /dev /mnt/root/dev
  cd /mnt/root && pivot_root . mnt && exec chroot . "$0" inside
fi

umount -n -l /mnt
for console in 1 2; do stty -F /dev/tty$console raw -echo -opost; done
exec 6>/dev/tty1 7>/dev/tty2
mount -t sysfs sysfs /sys
for folder in /run /tmp /dev/shm; do mkdir -p $folder && mount -t tmpfs -o size=100%,mode=1777 tmpfs $folder; done
mkdir -p /run/lock /run/lvm /run/kernel-vm /dev/pts && chmod 755 /run
mount -t devpts devpts /dev/pts
mount -t hostfs -o "$VM_RUN" none /run/kernel-vm
folder=$(cat /run/kernel-vm/folder)
case $folder in
  /tmp/* | /run/* | /dev/shm/*) mkdir -p "$folder" && mount -r -t hostfs -o "$folder" none "$folder" ;;
esac
if [ -s /run/kernel-vm/writable ]; then
  folder=$(cat /run/kernel-vm/writable)
  mkdir -p "$folder" && mount -t hostfs -o "$folder" none "$folder"
fi
ln -sfn /proc/self/fd /dev/fd
ln -sfn ../proc/self/mounts /etc/mtab
ip link set lo up 2>/dev/null || busybox ip link set lo up
busybox hostname kernel-vm
echo '127.0.0.1 localhost kernel-vm' >/etc/hosts
# There is no udev here: the LVM tools make the device nodes themselves. Touching memory takes long: they are not to reserve any, nor to
# lock what they have (a filter that fits all of /proc/self/maps), nor to look at more devices than there can be volume groups on. Terminals,
# eight loop devices that nobody uses and what is said in C.UTF-8 they would look at each time.
printf '%s\n' 'activation { udev_sync=0 udev_rules=0 monitoring=0 reserved_memory=0 reserved_stack=0 mlock_filter=[":"] }' \
  'devices { use_devicesfile=0 filter=["a|^/dev/loop|", "r|.*|"] md_component_detection=0 multipath_component_detection=0 }' \
  'backup { backup=0 archive=0 }' 'global { use_aio=0 thin_check_executable="" }' >/etc/lvm/lvm.conf
rm -rf /dev/pty* /dev/tty?* /dev/vcs* /usr/lib/locale/C.utf8
mkdir -p /etc/modprobe.d && echo 'options loop max_loop=1' >/etc/modprobe.d/loop.conf

# A command that ends may leave daemons behind, which hold its output open: they are ended, then the two copiers end.
mkfifo /run/output /run/errors
cat /run/output >&6 & output=$!
cat /run/errors >&7 & errors=$!
exec 6>&- 7>&-
/bin/bash /run/kernel-vm/command </dev/null >/run/output 2>/run/errors
status=$?
for process in /proc/[0-9]*; do
  process=${process#/proc/}
  case $process in 1 | "$output" | "$errors") continue ;; esac
  [ -e "/proc/$process/exe" ] && kill -KILL "$process" 2>/dev/null
done
wait "$output" "$errors"
echo $status >/run/kernel-vm/status
busybox poweroff -f
