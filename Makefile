# Treadle for its developers. Everything that these targets install goes into .venv; `make clean` takes it away again.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-model nightly fuzz faults mcp-conformance check check-format check-lint check-types check-imports format bench clean

PY := .venv/bin/python
# What the tests marked `model` talk to: the smallest of the catalogue, and the smallest that writes code that works.
TEST_MODELS ?= smollm2:135m qwen2.5-coder:0.5b
# Processes share the test files out, one for each core; one alone: ARGS="-n 0".
SHARED := -n logical --maxprocesses 4 --dist loadfile
# More words for the tool behind a target, e.g. make test ARGS="-k lease -x"
ARGS ?=

help: ## list these targets
	@echo "Usage: make TARGET [ARGS=...]"
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make .venv with everything a developer needs
	@scripts/setup dev

demo: ## build a small real project with a local model
	@scripts/setup demo
	@$(PY) scripts/demo.py $(ARGS)

test: test-model ## run all tests
	@$(PY) -m pytest $(SHARED) $(ARGS)

test-fast: setup ## run the tests that need neither a model nor patience
	@$(PY) -m pytest $(SHARED) -m "not slow and not model" $(ARGS)

test-model: setup
	@for model in $(TEST_MODELS); do \
	  .venv/bin/treadle models pull $$model || echo "No $$model: the tests that need it will be skipped." >&2; \
	done

nightly: setup ## play 20,000 seeds of the simulation (ARGS="--seed N": one again)
	@$(PY) -m tests.simulation.nightly $(ARGS)

fuzz: ## try what models, repositories and test runs might send, guided by coverage; 5 minutes (ARGS="patches --seconds 3600")
	@scripts/setup fuzz
	@$(PY) -m tests.fuzz $(ARGS)

faults: setup ## bring about the faults that machines have, with real processes; 15 minutes (ARGS="cut herd": some)
	@$(PY) -m tests.faults $(ARGS)

mcp-conformance: setup ## run the MCP conformance suite and inspector on our servers (fetches Node into your cache)
	@$(PY) -m tests.mcp_suite $(ARGS)

check: check-format check-lint check-types check-imports ## check format, lint, types and import contracts

check-format: setup
	@$(PY) -m ruff format --check .

check-lint: setup
	@$(PY) -m ruff check .

check-types: setup
	@$(PY) -m mypy

check-imports: setup
	@.venv/bin/lint-imports

format: setup ## format the code and mend what ruff can mend
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

bench: ## run the benchmarks; results go to bench/
	@scripts/setup bench
	@$(PY) -m bench $(ARGS)

clean: ## remove .venv, caches and build outputs (runs and demo-* folders stay)
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find src tests scripts bench -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
