# The few commands there are. Each does its own set-up; `make test` is what CI runs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run run-ray test bench soak deny setup ray-env ray-test

help: ## Say what there is
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+): .*## /  make \1\t/'

run: ## Build and run the demo
	cargo run --locked -- demo

run-ray: ray-env ## The same through a real Ray on this machine
	cargo run --locked -- demo --ray

test: setup ray-env ## Check and test everything, the Ray executor included
	cargo fmt --all -- --check
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	scripts/check-ractor-features
	cargo nextest run --locked --workspace --all-features --profile ci
	cargo test --locked --workspace --all-features --doc
	executors/ray/check

bench: ## Measure: the actor system alone, then the daemon against the floor, then its memory
	cargo bench --locked --bench flow
	cargo run --locked --release -- bench
	cargo run --locked --release -- bench --in-flight 10000

soak: setup ray-env ## The long tests: many kills, many seeds, real servers
	@scripts/soak-deps
	MOOTHALL_ARTIFACT_CHANGES=10000 MOOTHALL_ARTIFACT_NOISE=3000 \
		cargo nextest run --locked --workspace --all-features --profile soak

deny: ## Licences, bans and advisories (needs cargo-deny and its database)
	cargo deny --locked --all-features check

setup: ## Install what the tests need
	@scripts/test-deps

ray-env: ## Make the Python environment of the Ray executor
	@scripts/ray-env

ray-test: ## Check and test the Ray executor
	executors/ray/check
