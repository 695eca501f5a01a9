# What people and continuous integration run; `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
# The steps share cargo's lock and two cores are common: one at a time also reads better.
.NOTPARALLEL:
# A recipe is one script: a variable that a line sets is there for the next.
.ONESHELL:

# Which nats-server the tests use: any (the one on PATH if it is new enough), newest or oldest.
NATS ?= any
# Flags for the simulator (`make demo DEMO="--scenario outage"`) and for the benchmark.
DEMO ?=
BENCH ?=
BENCH_PAGE ?=
# Which fuzz targets; all when empty.
FUZZ ?=
# More flags for the long run of the fault suite: tests/tests/faults.rs lists them.
SOAK ?=
# Where compose-test takes base images from: registry, or stand-in (made here, see tests/compose/images.sh).
IMAGES ?= registry
# The folder of what cargo builds.
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))

PAGE_TESTS = $(wildcard web/tests/*.test.js)
BROWSER_TESTS = $(wildcard tests/browser/*.test.js)
SHELL_SCRIPTS = $(wildcard scripts/*.sh tests/compose/*.sh tests/systemd/*.sh deploy/*/*.sh) .ci/run

.PHONY: help
help: ## List what can be made
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

.PHONY: run
run: ## Start Glance from .env (made from .env.sample when missing)
	@exec scripts/run.sh

.PHONY: demo
demo: ## Start Glance with a simulated fleet; keeps nothing
	@exec scripts/demo.sh $(DEMO)

.PHONY: build
build: ## Build everything in release mode
	cargo build --release --workspace

.PHONY: test
test: test-rust test-page test-e2e ## Run all tests; installs what they need

# Runs before cargo test: cargo builds the programs that a test starts only if that test is in their own package.
.PHONY: test-programs
test-programs:
	cargo build --workspace --bins --tests --examples

.PHONY: test-rust
test-rust: test-tools test-programs ## Unit tests, and integration tests on a real nats-server
	GLANCE_TEST_NATS_SERVER="$$(scripts/nats-server.sh $(NATS))"
	export GLANCE_TEST_NATS_SERVER PYTHONPATH="$(CURDIR)/.tools/python"
	cargo test --workspace

.PHONY: test-page
test-page: ## The page's logic, in Node.js
	@scripts/need.sh node
	$(if $(PAGE_TESTS),node --test $(PAGE_TESTS),@echo 'web/tests holds no tests')

.PHONY: test-e2e
test-e2e: test-tools test-programs ## From a bot's report to the page, in Chromium
	GLANCE_TEST_NATS_SERVER="$$(scripts/nats-server.sh $(NATS))"
	export GLANCE_TEST_NATS_SERVER GLANCE_NATS_SERVER="$$GLANCE_TEST_NATS_SERVER"
	export GLANCE_BIN_DIR="$(TARGET)/debug" GLANCE_TEST_CHROMIUM="$$(command -v chromium)"
	export PYTHONPATH="$(CURDIR)/.tools/python"
	$(if $(BROWSER_TESTS),node --test $(BROWSER_TESTS),echo 'tests/browser holds no tests')

.PHONY: screenshots
screenshots: test-tools ## Take the pictures of docs/ anew
	cargo build --workspace --bins
	export GLANCE_NATS_SERVER="$$(scripts/nats-server.sh $(NATS))"
	export GLANCE_BIN_DIR="$(TARGET)/debug" GLANCE_TEST_CHROMIUM="$$(command -v chromium)"
	node tests/browser/screenshots.js

.PHONY: fuzz
fuzz: ## Feed random input to every parser that faces the network: FUZZ_SECONDS (20) for each
	@scripts/fuzz.sh $(FUZZ)

.PHONY: soak
soak: test-programs ## Many rounds of faults: each kind 30 times, in about half an hour
	GLANCE_TEST_NATS_SERVER="$$(scripts/nats-server.sh $(NATS))"
	export GLANCE_TEST_NATS_SERVER
	cargo test -p glance-tests --test faults -- --rounds 500 --each 30 $(SOAK)

.PHONY: test-oldest
test-oldest: ## The tests on the oldest nats-server that can be fetched
	$(MAKE) test NATS=oldest

.PHONY: compose-test
compose-test: ## Build and run compose.yaml, where a Docker engine is; not part of the tests
	@tests/compose/run.sh $(IMAGES)

.PHONY: systemd-test
systemd-test: test-programs ## Start the units on a systemd of their own, and try them; not part of the tests
	@tests/systemd/run.sh

.PHONY: check-manifests
check-manifests: ## Check deploy/ and compose.yaml against schemas and each other
	@scripts/check-manifests.sh

.PHONY: test-tools
test-tools: need-test-tools tests/node_modules/.package-lock.json
	@scripts/python-packages.sh

.PHONY: need-test-tools
need-test-tools:
	@scripts/need.sh chromium node npm pip

.PHONY: lint
lint: lint-rust lint-dependencies lint-page lint-scripts check-deploy check-manifests ## Check style, documentation, types and licences

.PHONY: lint-rust
lint-rust:
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps

.PHONY: lint-dependencies
lint-dependencies:
	@scripts/check-dependencies.sh

.PHONY: audit
audit: ## Check the dependencies; fails where known vulnerabilities cannot be fetched from GitHub
	@scripts/check-dependencies.sh --strict

.PHONY: lint-page
lint-page: need-npm web/node_modules/.package-lock.json
	npm run --prefix web --silent check

.PHONY: need-npm
need-npm:
	@scripts/need.sh node npm

.PHONY: lint-scripts
lint-scripts:
	@scripts/check-leftovers.sh
	if command -v shellcheck >/dev/null; then
	  shellcheck $(SHELL_SCRIPTS)
	else
	  echo 'shellcheck is not installed: the scripts are not checked'
	fi

.PHONY: check-deploy
check-deploy: ## Check the alerts and the dashboard in deploy/, if promtool is there
	@scripts/check-deploy.sh

.PHONY: fmt
fmt: ## Format the Rust code
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

.PHONY: bench
bench: bench-services bench-page ## Measure, in release mode

.PHONY: bench-page
bench-page: test-tools ## Measure the page in Chromium
	cargo build --release -p glance-standalone
	export GLANCE_NATS_SERVER="$$(scripts/nats-server.sh $(NATS))"
	export GLANCE_BIN_DIR="$(TARGET)/release" GLANCE_TEST_CHROMIUM="$$(command -v chromium)"
	node tests/browser/bench.js $(BENCH_PAGE)

.PHONY: bench-services
bench-services:
	cargo build --release -p glance-bench -p glance-aggregator -p glance-bridge -p glance-web
	GLANCE_TEST_NATS_SERVER="$$(scripts/nats-server.sh $(NATS))"
	export GLANCE_TEST_NATS_SERVER GLANCE_BIN_DIR="$(TARGET)/release"
	"$(TARGET)/release/glance-bench" $(BENCH)

.PHONY: clean
clean: ## Remove what was built and fetched; keeps .env and data/
	cargo clean
	rm -rf .tools tests/node_modules web/node_modules

# npm writes this file last.
%/node_modules/.package-lock.json: %/package-lock.json
	npm ci --prefix $* --no-audit --no-fund --loglevel=error
	@touch $@
