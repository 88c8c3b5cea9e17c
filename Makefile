# `make` alone lists what there is. Nothing here is needed to understand the build: scripts/cargo is
# cargo with RocksDB's library compiled once, and every target is a few commands.

SHELL := /usr/bin/env bash
CARGO := scripts/cargo
BINARIES := $(or $(CARGO_TARGET_DIR),target)/release
# Checks and tests share one build, which has the failures that tests can switch on.
TESTED := --workspace --locked --features chronos-node/mutants
WARNINGS_ARE_ERRORS := -D warnings

# Tokio can be seeded in builds that say so. They have a folder of their own.
SIMULATOR := RUSTFLAGS="--cfg tokio_unstable" CARGO_TARGET_DIR=$(or $(CARGO_TARGET_DIR),target)/sim \
    cargo run --quiet --locked --profile simulator --package chronos-sim
SEEDS ?= 300
ROUNDS ?= 1
# The shell counts SECONDS by itself, so a value counts only when it is given to make.
SECONDS_OF_CHAOS := $(if $(filter command line,$(origin SECONDS)),$(SECONDS),60)

.DEFAULT_GOAL := help
.PHONY: help run demo cluster release test test-kubernetes verify fix bench bench-cluster chaos fuzz sim sim-mutants reliability doc deps test-deps

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: release ## Build and start a node on :9000 (gRPC) and :8080 (HTTP), its data in ./data
	@echo
	@echo "Starting a node. In another terminal try:"
	@echo "    $(BINARIES)/chronosctl publish hello --in 5s --payload 'five seconds later'"
	@echo "    $(BINARIES)/chronosctl subscribe hello"
	@echo
	@exec $(BINARIES)/chronosdb -node-id=node1

demo: release ## Show events due in 1, 2 and 3 seconds arriving, on a node of its own
	@scripts/demo $(BINARIES)

cluster: release ## Run three local nodes that are one database, and print how to use them
	@scripts/cluster $(BINARIES)

release: deps
	@$(CARGO) build --release --locked --package chronos-node --package chronosctl

# Programs and tests are built together: apart, cargo unites other features for each and compiles most of
# what they depend on twice.
test: deps ## Run every test that needs no Kubernetes
	@if command -v go >/dev/null; then scripts/tools grpcurl; \
	    else echo "Go is missing, so is grpcurl: tests that run it are skipped"; fi
	$(CARGO) build $(TESTED) --bins --tests
	$(CARGO) test $(TESTED) --no-fail-fast

test-kubernetes: deps ## Test the operator against a real API server and with real nodes, from nothing (needs root and Go)
	$(CARGO) build $(TESTED) --bins --tests
	CARGO_TEST="$(CARGO) test $(TESTED)" scripts/test-kubernetes
	CARGO_TEST="$(CARGO) test $(TESTED)" scripts/test-kubernetes-nodes $(dir $(BINARIES))debug

verify: deps ## Check format, lints, docs, dependencies and structure; writes nothing
	cargo fmt --all --check
	scripts/check-structure
	$(CARGO) clippy $(TESTED) --all-targets -- $(WARNINGS_ARE_ERRORS)
	RUSTDOCFLAGS="$(WARNINGS_ARE_ERRORS)" $(CARGO) doc $(TESTED) --no-deps
	scripts/check-dependencies
	scripts/generated --check

fix: deps ## Repair what verify complains about, as far as a program can
	$(CARGO) clippy $(TESTED) --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all
	scripts/generated

bench: release ## Measure throughput, lateness and memory on a node of its own
	@scripts/bench $(BINARIES)

bench-cluster: release ## Measure a cluster of three nodes on this machine
	@scripts/bench-cluster $(BINARIES)

chaos: deps ## Break clusters of real processes for SECONDS=60, check what clients saw, and time failovers
	$(CARGO) build --locked -p chronos-node --features chronos-node/mutants --bins
	CHRONOS_CHAOS_SECONDS=$(SECONDS_OF_CHAOS) CHRONOS_TEST_FAILOVERS=10 $(CARGO) test --locked -p chronos-node -p chronos-tests \
	    --features chronos-node/mutants --test suites -- --nocapture --test-threads=1 \
	    cluster::chaos cluster::failover

fuzz: deps ## Run each fuzz target for 20 seconds (needs a nightly toolchain)
	@scripts/fuzz 20

sim: ## Simulate a cluster with faults from SEEDS=300 seeds, some 2 minutes on two cores (docs/simulation.md)
	@$(SIMULATOR) -- $(if $(findstring --seed,$(SIM)),,--seeds $(SEEDS)) $(SIM)

sim-mutants: ## Print how many seeds it takes to notice each known failure, ROUNDS=1 times, 10 minutes on two cores
	@$(SIMULATOR) --features mutants -- --mutants --seeds 1000 --rounds $(ROUNDS) $(SIM)

reliability: ## Write what simulations met and noticed into docs/reliability.md, 15 minutes on two cores
	@$(SIMULATOR) --features mutants -- --seeds $(SEEDS) --write docs/reliability.md
	@$(SIMULATOR) --features mutants -- --mutants --seeds 1000 --rounds $(ROUNDS) --write docs/reliability.md

doc: deps ## Build the documentation of all crates
	$(CARGO) doc --workspace --no-deps --locked

deps: ## Install what the build needs, when missing (Debian packages)
	@scripts/deps

test-deps: deps ## Install what checks and tests need besides: cargo-deny, grpcurl
	@scripts/tools cargo-deny grpcurl
