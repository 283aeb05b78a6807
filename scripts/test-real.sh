#!/bin/bash
# Runs the tests that need the real things. A test that is skipped here is a failure: nothing may hide.
set -uo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
  echo "These tests mount file systems: run them as root." >&2
  exit 1
fi
log=$(mktemp)
export MICA_TEST_CEPH_DIR
MICA_TEST_CEPH_DIR=$(mktemp -d) # The first test that needs Ceph starts it there: test/real/support/ceph.ts.
trap 'rm -f "$log"; bash test/real/support/ceph-down.sh "$MICA_TEST_CEPH_DIR"' EXIT
node_modules/.bin/node --test --test-concurrency=1 --test-timeout=900000 "$@" 2>&1 | tee "$log"
status=$?
if grep -qE '^ℹ (skipped|todo) [1-9]' "$log"; then
  echo "Skipped tests count as failures here: see the lines with # SKIP above." >&2
  exit 1
fi
if ! grep -qE '^ℹ tests [1-9]' "$log"; then
  echo "No test ran." >&2
  exit 1
fi
exit $status
