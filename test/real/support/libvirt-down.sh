#!/bin/bash
# Ends the libvirtd that libvirt-up.sh started in FOLDER, with its guests, and removes the folder: libvirt-down.sh FOLDER
# Only processes that have the folder on their command line: numbers of processes are used again.
set -uo pipefail
folder=$(cd "${1:?which folder}" 2>/dev/null && pwd -P) || exit 0

is_ours() { [ -n "$1" ] && tr '\0' '\n' 2>/dev/null <"/proc/$1/cmdline" | grep -qF -- "$2"; }

# end PIDFILE WORD: nothing in it is to be kept.
end() {
  local pid
  pid=$(cat "$1" 2>/dev/null)
  is_ours "$pid" "$2" || return
  kill -KILL "$pid"
  for _ in $(seq 50); do is_ours "$pid" "$2" && sleep 0.1; done
}

end "$folder/libvirtd.pid" "$folder/libvirtd.pid"
# libvirtd names the process of each guest after it.
for pidfile in "$folder"/run/qemu/*.pid; do end "$pidfile" "guest=$(basename "$pidfile" .pid)"; done
rm -rf "$folder"
