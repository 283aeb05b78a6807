#!/bin/bash
# Runs a command as root under a Linux kernel of its own, for what the machine's kernel lacks: device-mapper, NFS server and
# client. The kernel is Debian's user-mode-linux, an ordinary process: it needs neither KVM nor modules.
#
#   kernel-vm.sh [-m MEMORY] [-d SIZE]... [-e NAME=VALUE]... [-w FOLDER] [-t SECONDS] [--] COMMAND [ARGUMENT]...
#
#   -m  memory of the guest, taken from the machine as it is used (1G)
#   -d  an empty disk: /dev/ubda, /dev/ubdb, … in this order, all of them in $KERNEL_VM_DISKS; a sparse file, gone afterwards
#   -e  a variable for the command
#   -w  a folder of this machine that the command may write to, and what it writes stays
#   -t  the guest is ended after so many seconds (300)
#
# The guest sees this machine's files at the same paths through a layer in memory: it may write anywhere, and nothing stays.
# /tmp, /run and /dev/shm are empty, but for the current folder, should it be in there: that can be read. Its only network is its own loopback. It starts in the current folder.
# Output and exit status are the command's; 124: its time was up; 125: the guest could not be started, or died.
#
# What the guest needs beyond this machine's programs is unpacked into a folder of the user's cache, never installed: no
# service is started here. Needs root, apt, and a Debian mirror at the first run.
set -euo pipefail
umask 022

PACKAGES="user-mode-linux kmod busybox-static lvm2 thin-provisioning-tools nfs-kernel-server nfs-common libatomic1"
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/mica-kernel-vm

fail() { echo "kernel-vm: $*" >&2; exit 125; }

# The packages and what they depend on, as far as it is missing here, in one tree. Made aside, then renamed: whole or not there.
unpack_packages() {
  local made
  made=$(mktemp -d "$CACHE/making.XXXXXX")
  mkdir -p "$made/archives/partial" "$made/tree/usr/bin" "$made/tree/usr/sbin" "$made/tree/usr/lib" "$made/tree/usr/lib64"
  for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$made/tree/$folder"; done
  download "$made/archives" >"$made/log" 2>&1 || { cat "$made/log" >&2; rm -rf "$made"; fail "cannot download $PACKAGES"; }
  for archive in "$made"/archives/*.deb; do
    # Debian's /lib and /sbin are links: what a package has there goes where they point to.
    dpkg-deb --fsys-tarfile "$archive" | tar -x --keep-directory-symlink -C "$made/tree"
  done
  mv "$made/tree/usr/lib/uml/modules" "$made/tree/usr/lib/modules"
  index_modules "$made/tree"
  mv -T "$made/tree" "$tree"
  rm -rf "$made"
}

download() {
  local get=(apt-get -y -q --no-install-recommends -o "Dir::Cache::archives=$1" -o APT::Sandbox::User=root
    -o DPkg::Lock::Timeout=120 --download-only --reinstall install)
  "${get[@]}" $PACKAGES || { apt-get -q update && "${get[@]}" $PACKAGES; }
}

# kmod does what its name says.
index_modules() {
  (LD_LIBRARY_PATH=$1/usr/lib/x86_64-linux-gnu exec -a depmod "$1/usr/bin/kmod" -b "$1" "$(ls "$1/usr/lib/modules")")
}

# Those of this machine's processors that we may use.
processors() {
  local range
  for range in $(sed -n 's/^Cpus_allowed_list:\t//p' /proc/self/status | tr , ' '); do seq "${range%-*}" "${range#*-}"; done
}

# At each system call and page fault of the guest, its kernel and its process take turns, and those are two processes here. Where they
# are on two processors, each turn wakes the other one up, which takes 3 times as long on an idle machine and 15 times on a busy one.
# Guests at the same time are on different processors, as long as there are enough.
choose_processor() {
  for processor in $(processors); do
    exec 8>"$CACHE/processor-$processor"
    ! flock -n 8 || return 0
  done
  processor=$(processors | shuf -n 1)
}

memory=1G seconds=300 disks=() variables=() writable=
while getopts m:d:e:w:t: option; do
  case $option in
    m) memory=$OPTARG ;;
    d) disks+=("$OPTARG") ;;
    e) variables+=("$OPTARG") ;;
    w) writable=$OPTARG ;;
    t) seconds=$OPTARG ;;
    *) fail "see the head of $0" ;;
  esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || fail "no command is given"
[ "$(id -u)" = 0 ] || fail "it takes root"
here=$(cd "$(dirname "$0")" && pwd)

mkdir -p "$CACHE"
tree=$CACHE/$(. /etc/os-release; echo "$VERSION_CODENAME $PACKAGES" | sha256sum | cut -c1-16)
exec 9>"$CACHE/lock"
flock 9
[ -d "$tree" ] || unpack_packages
exec 9>&-

run=$(mktemp -d "${TMPDIR:-/tmp}/mica-kernel-vm-XXXXXX")
guest=
end_guest() { [ -z "$guest" ] || kill -KILL "$guest" 2>/dev/null || true; rm -rf "$run"; }
trap end_guest EXIT
trap 'exit 125' INT TERM HUP

devices=() names=()
for i in "${!disks[@]}"; do
  truncate -s "${disks[i]}" "$run/disk$i" || fail "${disks[i]} is no size"
  devices+=("ubd$i=$run/disk$i")
  names+=("/dev/ubd$(printf "\\x$(printf %x $((97 + i)))")")
done
{
  printf 'export HOME=/root LANG=C.UTF-8 TERM=dumb KERNEL_VM_DISKS=%q\n' "${names[*]-}"
  for variable in ${variables[@]+"${variables[@]}"}; do printf 'export %s=%q\n' "${variable%%=*}" "${variable#*=}"; done
  printf 'cd %q || exit 125\nexec' "$PWD"
  printf ' %q' "$@"
  echo
} >"$run/command"
printf %s "$PWD" >"$run/folder"
printf %s "$writable" >"$run/writable"

# Output and errors leave through two consoles of the guest; the kernel's own messages go to a file.
exec 3> >(exec cat) 4> >(exec cat >&2)
outputs="$(jobs -p)"
choose_processor
# All processes of the guest are in a namespace of their own, which ends with its first one, or with this script.
taskset -c "$processor" setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount-proc \
  timeout --foreground --signal KILL "$seconds" \
  "$tree/usr/bin/linux.uml" "mem=$memory" ${devices[@]+"${devices[@]}"} root=/dev/root rootfstype=hostfs rootflags=/ ro \
  "init=$here/kernel-vm-init.sh" "VM_TREE=$tree" "VM_RUN=$run" "uml_dir=$run" umid=uml quiet \
  con=null con0=null,fd:5 con1=null,fd:3 con2=null,fd:4 ssl=null 5>"$run/console" </dev/null >>"$run/console" 2>&1 &
guest=$!
status=0
wait "$guest" || status=$?
guest=
exec 3>&- 4>&-
wait $outputs 2>/dev/null || true

[ -s "$run/status" ] && exit "$(cat "$run/status")"
if [ "$status" = 137 ]; then
  echo "kernel-vm: ended after $seconds s" >&2
  exit 124
fi
tail -n 40 "$run/console" >&2
fail "the guest died with status $status"
