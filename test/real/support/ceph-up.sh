#!/bin/bash
# A Ceph cluster of one monitor, one manager and one OSD on loopback, with all its state in one folder. No systemd, no root.
#
#   ceph-up.sh FOLDER    makes it and starts it; returns once it is healthy, and prints the path of its ceph.conf
#   ceph-down.sh FOLDER  ends it
#
# Pools images, volumes and vms. Users, each with a keyring FOLDER/ceph.client.NAME.keyring: admin; images, which has the pool images;
# volumes, which has volumes and vms and may read images, and so clone from there; nobody, who may only reach the monitor.
set -euo pipefail
umask 022
folder=${1:?which folder}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd -P)
conf=$folder/ceph.conf
limit=${CEPH_UP_SECONDS:-120}
mkdir -p "$folder"/{run,log,crash,mgr.x,osd.0,modules}

say() { echo "ceph-up: $*" >&2; }
fail() { say "$*"; tail -n 15 "$folder"/log/*.out >&2 2>/dev/null || true; exit 1; }

# Debian builds Ceph without tcmalloc: one arena of glibc, and memory given back early, keep the daemons small.
export MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=131072 MALLOC_MMAP_THRESHOLD_=131072

# Ports for the two protocols of the monitor, below those that the kernel gives out by itself.
free_port() {
  local port
  for _ in $(seq 200); do
    port=$((20000 + RANDOM % 5000 * 2))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || (exec 3<>"/dev/tcp/127.0.0.1/$((port + 1))") 2>/dev/null || { echo "$port"; return; }
  done
  fail "no free ports"
}

port=$(free_port)
fsid=$(cat /proc/sys/kernel/random/uuid)
cat >"$conf" <<CONF
[global]
fsid = $fsid
mon_host = [v2:127.0.0.1:$port,v1:127.0.0.1:$((port + 1))]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
keyring = $folder/keyring
run_dir = $folder/run
crash_dir = $folder/crash
log_file = $folder/log/\$name.log
log_to_syslog = false
log_max_recent = 100
ms_async_op_threads = 1

[mon]
mon_data = $folder/mon.a
pid_file = $folder/run/\$name.pid
admin_socket = $folder/run/\$name.asok
mon_cluster_log_file = $folder/log/cluster.log
mon_allow_pool_delete = true
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 1000
# Other work fills the disk below: that is not the cluster's business.
mon_data_avail_warn = 1
mon_data_avail_crit = 0
# Maps change at once; the defaults gather changes for a second.
paxos_propose_interval = 0.05
paxos_min_wait = 0.02
rocksdb_cache_size = 16777216
mon_memory_autotune = false

[mgr]
mgr_data = $folder/mgr.x
keyring = $folder/mgr.x/keyring
pid_file = $folder/run/\$name.pid
admin_socket = $folder/run/\$name.asok
mgr_module_path = $folder/modules
mgr_initial_modules =
mgr_stats_period = 1
mgr_tick_period = 1

[osd]
osd_data = $folder/osd.0
keyring = $folder/osd.0/keyring
pid_file = $folder/run/\$name.pid
admin_socket = $folder/run/\$name.asok
crush_location = root=default host=one
osd_objectstore = bluestore
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 1
osd_min_pg_log_entries = 50
osd_max_pg_log_entries = 200
osd_memory_target = 939524096
osd_scrub_begin_hour = 0
osd_scrub_end_hour = 0
osd_mclock_skip_benchmark = true
# How long a client that was killed keeps its locks; 30 s by default. Clients are heard of every 5 s.
osd_client_watch_timeout = 12
# A sparse file, which grows with use.
bluestore_block_size = ${CEPH_OSD_BYTES:-12884901888}
bluestore_block_create = true
bluestore_block_db_create = false
bluestore_block_wal_create = false
bluestore_fsck_on_mount = false
bluestore_cache_autotune = false
bluestore_cache_size = 134217728
bluestore_rocksdb_options = compression=kNoCompression,max_write_buffer_number=4,min_write_buffer_number_to_merge=1,recycle_log_file_num=4,write_buffer_size=8388608,writable_file_max_buffer_size=0,compaction_readahead_size=2097152,max_background_compactions=2,max_total_wal_size=33554432

[client]
keyring = $folder/ceph.\$name.keyring
admin_socket =
log_file =
CONF

# Keys: the monitor takes them all when its store is made.
keys=$folder/keyring
key() { ceph-authtool "$keys" --gen-key --name "$@" >/dev/null; }
user() { (umask 077; printf '[client.%s]\n\tkey = %s\n' "$1" "$(ceph-authtool "$keys" -p -n "client.$1")" >"$folder/ceph.client.$1.keyring"); }
(
  umask 077
  ceph-authtool --create-keyring "$keys" >/dev/null
  key mon. --cap mon 'allow *'
  key mgr.x --cap mon 'allow profile mgr' --cap osd 'allow *' --cap mds 'allow *'
  key osd.0 --cap mon 'allow profile osd' --cap mgr 'allow profile osd' --cap osd 'allow *'
  key client.admin --cap mon 'allow *' --cap mgr 'allow *' --cap osd 'allow *'
  key client.images --cap mon 'profile rbd' --cap mgr 'profile rbd pool=images' --cap osd 'profile rbd pool=images'
  key client.volumes --cap mon 'profile rbd' --cap mgr 'profile rbd pool=volumes, profile rbd pool=vms' \
    --cap osd 'profile rbd pool=volumes, profile rbd pool=vms, profile rbd-read-only pool=images'
  key client.nobody --cap mon 'allow r'
  for daemon in mgr.x osd.0; do
    printf '[%s]\n\tkey = %s\n' "$daemon" "$(ceph-authtool "$keys" -p -n "$daemon")" >"$folder/$daemon/keyring"
  done
)
for name in admin images volumes nobody; do user "$name"; done

# RBD needs one of the manager's modules, and each costs an interpreter: the others that Ceph insists on do nothing.
for module in mgr_module.py mgr_util.py rbd_support status; do ln -s "/usr/share/ceph/mgr/$module" "$folder/modules/$module"; done
for module in balancer crash devicehealth orchestrator pg_autoscaler progress telemetry volumes; do
  mkdir "$folder/modules/$module"
  echo 'from .module import Module' >"$folder/modules/$module/__init__.py"
  printf 'from mgr_module import MgrModule\n\n\nclass Module(MgrModule):\n    NOTIFY_TYPES = []\n' >"$folder/modules/$module/module.py"
done

# Each daemon forks once it has opened its store and bound its ports.
start() {
  local name=$1
  shift
  "$@" --conf "$conf" >>"$folder/log/$name.out" 2>&1 </dev/null || fail "$name did not start"
}

monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$port,v1:127.0.0.1:$((port + 1))]" "$folder/monmap" >/dev/null
start mon.a ceph-mon --mkfs -i a --monmap "$folder/monmap" --keyring "$keys"
start mon.a ceph-mon -i a
osd=$(cat /proc/sys/kernel/random/uuid)
ceph --conf "$conf" --connect-timeout 30 osd new "$osd" >>"$folder/log/osd.0.out" 2>&1 || fail "the monitor does not answer"
start osd.0 ceph-osd --mkfs -i 0 --osd-uuid "$osd"
start mgr.x ceph-mgr -i x
start osd.0 ceph-osd -i 0

# One Python process with librados, where a dozen runs of `ceph` would take half a second each. The module is Debian's own.
CONF=$conf LIMIT=$limit /usr/bin/python3 - <<'PYTHON' || fail "the cluster did not become healthy"
import json, os, sys, time
import rados, rbd

deadline = time.monotonic() + float(os.environ["LIMIT"])
limits = {"client_mount_timeout": "30", "rados_mon_op_timeout": "30", "rados_osd_op_timeout": "30"}
cluster = rados.Rados(conffile=os.environ["CONF"], name="client.admin", conf=limits)
cluster.connect()


def ask(prefix, **arguments):
    status, answer, error = cluster.mon_command(json.dumps({"prefix": prefix, "format": "json", **arguments}), b"")
    if status:
        sys.exit(f"{prefix}: {error} ({status})")
    return json.loads(answer) if answer.strip() else None


def wait_until(done):
    while not done():
        if time.monotonic() > deadline:
            sys.exit("not in time: " + json.dumps(ask("health")))
        time.sleep(0.1)


wait_until(lambda: ask("osd stat")["num_up_osds"] == 1)
for pool in ["images", "volumes", "vms"]:
    ask("osd pool create", pool=pool, pg_num=8)
    with cluster.open_ioctx(pool) as context:
        rbd.RBD().pool_init(context, False)
wait_until(lambda: {state["name"] for state in ask("pg stat")["pg_summary"]["num_pg_by_state"]} == {"active+clean"})
wait_until(lambda: ask("health")["status"] == "HEALTH_OK")
cluster.shutdown()
PYTHON
echo "$conf"
