# What people do with Mica. Each target installs what it needs first; when all is there that takes no time.
.PHONY: help install start demo test test-real check bench docs format
SHELL = /bin/sh

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

install: node_modules/.package-lock.json .bundle/main.mjs ## Debian packages and npm packages, as far as they are missing
	@./scripts/install.sh

# npm writes this file last. The engine warnings of npm on an older Node are off in .npmrc: Mica brings its own Node.
node_modules/.package-lock.json: package-lock.json
	npm ci
	@test -x node_modules/.bin/node || { echo "npm did not install Node for this machine: Mica runs on Linux on x64 and arm64." >&2; exit 1; }
	@touch $@

# Mica runs without it, and starts in twice the time. Folders are among its sources: so it is made anew when a file goes.
.bundle/main.mjs: node_modules/.package-lock.json scripts/bundle.ts $(shell find src -not -name '*.test.ts')
	node_modules/.bin/node scripts/bundle.ts

start: install ## run Mica in the foreground with defaults
	@./bin/mica serve

demo: install ## the main job, visibly, against a running Mica
	@./bin/mica demo

check: install ## types, lint, dead code: no tests
	npm run --silent check

test: install ## the above, and all tests that need no heavy parts
	npm run --silent check
	npm run --silent test

test-real: install ## the tests on real file systems, Ceph, S3, LVM and NFS, and with the stock clients; as root
	@./scripts/install.sh real
	./scripts/test-real.sh 'test/real/**/*.test.ts' 'test/openstack/**/*.test.ts'

bench: install ## the numbers, as ratios in one run; those on Ceph too
	@./scripts/install.sh bench
	npm run --silent bench

docs: install ## make docs/errors.md and docs/configuration.md anew
	npm run --silent docs

format: install ## format the code
	npm run --silent format
