# Everything a developer does, one target each: `make` lists them.
# Everything is built with the release profile into one folder for all checkouts, because RocksDB is compiled in it:
# the first build takes 12 to 15 minutes on two cores, the next ones seconds. What ships is linked anew by `make dist`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
MAKEFLAGS += --no-print-directory

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/replicamq
export CARGO_TARGET_DIR ?= $(CACHE)/target
export REPLICAMQ_BIN ?= $(CARGO_TARGET_DIR)/release/replicamq
DIST_BIN := $(CARGO_TARGET_DIR)/dist/replicamq
export PYTHONDONTWRITEBYTECODE := 1
export PATH := $(CARGO_TARGET_DIR)/release:$(CACHE)/tools/bin:$(PATH)
PYTHON := $(CACHE)/venv/bin/python
CARGO_DENY := 0.20.2
CARGO_FUZZ := 0.13.2

# Where `demo KEEP=1` and `cluster-up` put their cluster.
CLUSTER ?= .demo
# Messages that the demo sends.
COUNT ?= 5005
DEPS ?= all
COMPOSE := deploy/docker/compose

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-14s %s\n", $$1, $$2 }'

.PHONY: deps
deps: ## install what is missing: ZooKeeper, a JRE, libclang, a C++ compiler, the Python clients (DEPS=python: these alone)
	@echo "Checking what this machine has"
	deploy/deps $(DEPS)

.PHONY: build
build: ## build the binary
	@if [ ! -x "$(REPLICAMQ_BIN)" ]; then echo "First build: RocksDB takes 12 to 15 minutes on two cores, once"; fi
	cargo build --release --locked --workspace
	echo "Built $(REPLICAMQ_BIN)"

.PHONY: dist
dist: build ## the binary as it ships, optimised as a whole (another ten minutes, once)
	@rocksdb=$$(ls -t $(CARGO_TARGET_DIR)/release/build/librocksdb-sys-*/out/librocksdb.a | head -n 1)
	export ROCKSDB_STATIC=1 ROCKSDB_LIB_DIR=$$(dirname "$$rocksdb")
	cargo build --profile dist --locked --package replicamq-server
	echo "Built $(DIST_BIN)"

.PHONY: demo
demo: deps build ## three brokers, the master killed in mid-stream, a ledger (KEEP=1 leaves the cluster running)
	@$(PYTHON) deploy/demo --count $(COUNT) $(if $(KEEP),--keep) $(CLUSTER)

.PHONY: cluster-up
cluster-up: deps build ## start a local cluster of three in CLUSTER (.demo)
	@deploy/local-cluster start $(CLUSTER)

.PHONY: cluster-status
cluster-status: ## what the local cluster says of itself
	@deploy/local-cluster status $(CLUSTER)

.PHONY: cluster-down
cluster-down: ## stop the local cluster; its data stays in CLUSTER
	@deploy/local-cluster stop $(CLUSTER)

.PHONY: test
test: deps test-rust test-clients test-deploy ## everything that a change must pass

.PHONY: test-rust
test-rust: build ## the crates' own tests, the simulator, the real processes
	@REPLICAMQ_EARLIER=$$(tests/earlier $(CARGO_TARGET_DIR)/release $(CACHE))
	export REPLICAMQ_EARLIER
	cargo test --release --locked --workspace

.PHONY: sim
sim: ## a simulated cluster under faults: SEEDS=n [FROM=m] runs many, SEED=17 shows one ([LINES=n] its end)
	@cargo sim --locked -- --exact every_seed_keeps_the_promises

.PHONY: disk
disk: ## the log alone on a simulated disk, crashed in any change: SEEDS=n [FROM=m] runs many, SEED=17 shows one
	@cargo test --release --locked --package replicamq-simulation --test disk -- --exact every_seed_keeps_the_promises --nocapture

.PHONY: model
model: ## every history of a small cluster: TIMEOUTS=n CRASHES=n PROPOSALS=n BREAKS=n, from a healthy one on
	cargo test --release --locked --package replicamq-simulation --test model -- --nocapture

.PHONY: nemesis
nemesis: deps build ## real faults on real processes for MINUTES=n (else each kind once): SEED=n plays them again, FAULT=kind, REPORT=file
	@REPORT=$(abspath $(REPORT)) cargo test --release --locked --workspace --test nemesis -- --exact --nocapture \
	    every_fault_in_an_order_of_chance_costs_nothing_that_was_acknowledged

.PHONY: mutations
mutations: ## plant one defect after another in a node: the simulator must find each (DEFECT=name: this one)
	@tests/simulation/mutants $(DEFECT)

.PHONY: fuzz
fuzz: ## fuzz the decoders, MINUTES=n each (TARGET=name: this one; KEEP=1: keep what is new in the corpus)
	@if ! cargo fuzz --version >/dev/null 2>&1; then
	    echo "Installing cargo-fuzz $(CARGO_FUZZ) into $(CACHE)/tools, once"
	    CARGO_TARGET_DIR=$(CACHE)/tools-target cargo install --locked --root $(CACHE)/tools cargo-fuzz@$(CARGO_FUZZ)
	fi
	FUZZ_CACHE=$(CACHE)/fuzz MINUTES=$(or $(MINUTES),1) KEEP=$(KEEP) tests/fuzz/run $(TARGET)

.PHONY: test-clients
test-clients: ## stomp.py, a client that is not ours, against a real cluster
	$(PYTHON) -m pytest -p no:cacheprovider tests/stomp_py

.PHONY: test-deploy
test-deploy: ## scripts, systemd units, the documents' commands, and the container cluster where Docker is usable
	$(PYTHON) -m pytest -p no:cacheprovider tests/deploy_py

.PHONY: lint
lint: ## formatting and clippy, warnings denied
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

.PHONY: docs
docs: ## the crates' documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps

.PHONY: deny
deny: ## licences, sources, bans and, where the advisory database can be fetched, advisories
	@if ! cargo deny --version >/dev/null 2>&1; then
	    echo "Installing cargo-deny $(CARGO_DENY) into $(CACHE)/tools, once"
	    CARGO_TARGET_DIR=$(CACHE)/tools-target cargo install --locked --root $(CACHE)/tools cargo-deny@$(CARGO_DENY)
	fi
	if cargo deny fetch db; then
	    cargo deny --locked check
	else
	    echo "NOT CHECKED: advisories. Their database could not be fetched from here; bans, licences and sources are checked."
	    cargo deny --locked check bans licenses sources
	fi

.PHONY: image
image: ## the container image replicamq:local
	@$(COMPOSE) image

.PHONY: compose-up
compose-up: ## ZooKeeper and three brokers in containers
	@$(COMPOSE) up

.PHONY: compose-status
compose-status: ## what the container cluster says of itself
	@$(COMPOSE) status

.PHONY: compose-down
compose-down: ## stop the container cluster and remove its volumes
	@$(COMPOSE) down

.PHONY: bench
bench: cluster-up ## throughput and latency against the local cluster (BENCH="--producers 8 …")
	@. $(CLUSTER)/cluster.env
	$(REPLICAMQ_BIN) bench --broker "$$BROKER_URI" $(BENCH)
	echo "The cluster goes on: 'make clean' stops and removes it"

.PHONY: figures
figures: deps dist ## the figures of the README, beside Debian's ActiveMQ (half an hour; needs the package activemq)
	@REPLICAMQ_BIN=$(DIST_BIN) $(PYTHON) deploy/figures $(CLUSTER)-figures

.PHONY: drill
drill: cluster-up ## kill the local cluster's master ROUNDS times under load; fails on any loss
	@$(REPLICAMQ_BIN) drill kill-master --rounds $(or $(ROUNDS),10) --target local --local-dir $(CLUSTER)
	echo "The cluster goes on: 'make clean' stops and removes it"

# Where `install` puts things; packagers set DESTDIR. sudo is asked for only where it is needed.
PREFIX ?= /usr/local
SUDO := $(if $(DESTDIR),,$(if $(filter 0,$(shell id -u)),,sudo))
INSTALLED := $(DESTDIR)$(PREFIX)
.PHONY: install
install: dist ## put the binary, the systemd unit and the sample configuration under PREFIX (/usr/local)
	@$(SUDO) install -D -m 0755 $(DIST_BIN) $(INSTALLED)/bin/replicamq
	$(SUDO) install -D -m 0644 -t $(INSTALLED)/lib/systemd/system deploy/systemd/replicamq@.service
	$(SUDO) sed -i 's#/usr/local/#$(PREFIX)/#' $(INSTALLED)/lib/systemd/system/replicamq@.service
	$(SUDO) install -D -m 0644 -t $(INSTALLED)/share/doc/replicamq deploy/replicamq.toml deploy/README.md LICENSE
	echo "Installed into $(INSTALLED); deploy/README.md says how to go on"

.PHONY: clean
clean: ## stop the local cluster and remove it (the build in the cache stays: `cargo clean` removes that)
	@if [ -f $(CLUSTER)/cluster.env ]; then deploy/local-cluster stop $(CLUSTER); fi
	rm -rf $(CLUSTER)
