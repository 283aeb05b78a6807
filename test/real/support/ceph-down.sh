#!/bin/bash
# Ends the cluster that ceph-up.sh made in FOLDER, and removes the folder: ceph-down.sh FOLDER
# Only processes that have the folder's own ceph.conf on their command line: numbers of processes are used again.
set -uo pipefail
folder=$(cd "${1:?which folder}" 2>/dev/null && pwd -P) || exit 0

is_ours() { [ -n "$1" ] && tr '\0' '\n' 2>/dev/null <"/proc/$1/cmdline" | grep -qxF -- "$folder/ceph.conf"; }

for daemon in osd.0 mgr.x mon.a; do
  pid=$(cat "$folder/run/$daemon.pid" 2>/dev/null)
  is_ours "$pid" || continue
  # Nothing in it is to be kept; and one that was stopped by a test would not hear anything else.
  kill -KILL "$pid"
  for _ in $(seq 50); do is_ours "$pid" && sleep 0.1; done
done
rm -rf "$folder"
