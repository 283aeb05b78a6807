#!/bin/bash
# A private libvirtd of root's, with all its state in one folder, for QEMU on this machine: no systemd, dbus, cgroups, network or firewall.
#
#   libvirt-up.sh FOLDER OWNER CACHE   starts it, or starts it again after it died; prints its socket once it answers
#   libvirt-down.sh FOLDER             ends it with its guests, and removes the folder. Happens by itself when the process OWNER is gone
#
# libvirtd has its five folders compiled in. It gets a mount namespace of its own in which they are folders in FOLDER: nothing of the machine's own libvirt
# is read or written, and any number of them run side by side. All else is the machine's own files, at the same paths.
set -euo pipefail
umask 022
folder=${1:?which folder} owner=${2:?which process owns it} cache=${3:?which cache}
# What QEMU can do, which takes libvirtd seconds to find out, is kept from one to the next.
mkdir -p "$folder" "$cache"
folder=$(cd "$folder" && pwd -P)
here=$(cd "$(dirname "$0")" && pwd -P)
socket=$folder/run/libvirt-sock

fail() { echo "libvirt-up: $*" >&2; tail -n 10 "$folder"/log/* >&2 2>/dev/null || true; exit 1; }

# A unix socket's address has room for 107 characters.
[ ${#socket} -le 107 ] || fail "$socket is too long for a socket"
mkdir -p "$folder"/{etc,lib,run,log,bin,tls}
# QEMU goes through them as whoever it runs as.
chmod 711 "$folder" "$folder"/{lib,run,log}

# libvirtd starts only where this user is there, which another package would make. No guest runs as it.
add_user() { { cat "/etc/$1"; grep -q '^libvirt-qemu:' "/etc/$1" || echo "$2"; } >"$folder/$1"; }
add_user passwd 'libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin'
add_user group 'libvirt-qemu:x:64055:'

[ -e "$folder/uuid" ] || cat /proc/sys/kernel/random/uuid >"$folder/uuid"
cat >"$folder/etc/libvirtd.conf" <<CONF
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0770"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
host_uuid = "$(cat "$folder/uuid")"
CONF
cat >"$folder/etc/qemu.conf" <<CONF
# For disks on other hosts; a test may put certificates there at any time.
nbd_tls_x509_cert_dir = "$folder/tls"
CONF
cat >>"$folder/etc/qemu.conf" <<'CONF'
user = "root"
group = "root"
# Owners are kept in attributes that not every file system has.
remember_owner = 0
security_driver = "none"
security_default_confined = 0
# They need udev, machined and delegated groups.
namespaces = [ ]
cgroup_controllers = [ ]
# There is no virtlogd.
stdio_handler = "file"
CONF

# libvirtd looks at each emulator that it finds, for 2 s each: it finds one.
for program in qemu-system-x86_64 qemu-img mount umount cat sh env; do ln -sf "$(command -v $program)" "$folder/bin/$program"; done

answers() { virsh -q -c "qemu+unix:///system?socket=$socket" uri >/dev/null 2>&1; }

lives() { tr '\0' '\n' 2>/dev/null <"/proc/$(cat "$folder/libvirtd.pid" 2>/dev/null)/cmdline" | grep -qF -- "$folder/libvirtd.pid"; }

if ! lives; then
  rm -f "$folder/libvirtd.pid" "$socket" # virsh would wait for a while at a socket that nobody listens at.
  mkdir -p /etc/libvirt /var/lib/libvirt /run/libvirt /var/cache/libvirt /var/log/libvirt
  # "slave": what is mounted outside later, such as file systems of tests, is seen inside.
  setsid unshare --mount --propagation slave -- /bin/sh -ec '
    mount --bind "$2" /var/cache/libvirt
    for pair in etc:/etc/libvirt lib:/var/lib/libvirt run:/run/libvirt log:/var/log/libvirt passwd:/etc/passwd group:/etc/group; do
      mount --bind "$1/${pair%%:*}" "${pair#*:}"
    done
    PATH=$1/bin:/usr/sbin:/sbin
    export PATH
    exec /usr/sbin/libvirtd -d -f /etc/libvirt/libvirtd.conf -p "$1/libvirtd.pid"
  ' sh "$folder" "$cache" </dev/null >>"$folder/log/start.out" 2>&1 || fail "libvirtd does not start"
  for _ in $(seq 300); do
    [ ! -S "$socket" ] || ! answers || break
    sleep 0.1
  done
  answers || fail "libvirtd does not answer at $socket"
fi

# Ends it all when the tests are gone, however they went.
if [ ! -e "$folder/watched" ]; then
  touch "$folder/watched"
  setsid sh -c 'tail --pid="$1" -f /dev/null; exec "$2" "$3"' sh "$owner" "$here/libvirt-down.sh" "$folder" </dev/null >/dev/null 2>&1 &
fi
echo "$socket"
