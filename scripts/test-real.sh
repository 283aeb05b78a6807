#!/bin/bash
# Runs the tests that need the real things: test-lanes.ts.
set -uo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
  echo "These tests mount file systems: run them as root." >&2
  exit 1
fi
export MICA_TEST_CEPH_DIR
MICA_TEST_CEPH_DIR=$(mktemp -d) # In each lane, the first test that needs Ceph starts it there: test/real/support/ceph.ts.
end_ceph() {
  for folder in "$MICA_TEST_CEPH_DIR"/*/; do bash test/real/support/ceph-down.sh "$folder"; done
  rm -rf "$MICA_TEST_CEPH_DIR"
}
trap end_ceph EXIT
# Compiled code is kept between files, as in package.json.
NODE_COMPILE_CACHE=$PWD/node_modules/.cache/tests node_modules/.bin/node scripts/test-lanes.ts "$@"
