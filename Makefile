# Every target sets up what it needs; a fresh clone needs Python 3.11 or later and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROTOC := $(BIN)/python -m grpc_tools.protoc -I proto
PROTOS := $(shell find proto -name '*.proto')
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check fmt lint types contracts proto proto-check bench soak coverage clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

setup: $(STAMP)  ## Create .venv and install the project into it

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -e '.[demo]' --group dev
	touch $(STAMP)

demo: $(STAMP)  ## Start three regions and a router, replicate 34,000 cities, break things, check all
	antipodes demo $(ARGS)

up: $(STAMP)  ## Start three regions and a router and leave them running
	antipodes up $(ARGS)

test: $(STAMP)  ## Run all tests
	python -m pytest $(ARGS)

coverage: $(STAMP)  ## Run all tests with branch coverage, child processes included
	coverage erase && coverage run -m pytest $(ARGS) && coverage combine -q && coverage report

soak: $(STAMP)  ## Run the simulator over many seeds: make soak SEEDS=2000
	python -m tests.sim --seeds $(or $(SEEDS),2000)

check: $(STAMP) lint types contracts proto-check  ## Format, lint, types, import contracts, stubs current

fmt: $(STAMP)  ## Format the code
	ruff format . && ruff check --fix . && buf format -w proto

lint: $(STAMP)
	ruff format --check . && ruff check .

types: $(STAMP)
	mypy && pyright --warnings

contracts: $(STAMP)
	lint-imports

proto: $(STAMP)  ## Regenerate antipodes/v1 from proto/
	$(PROTOC) --python_out=. --grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:. $(PROTOS)

proto-check: $(STAMP)  ## Fail if antipodes/v1 is stale, badly styled, or breaks the wire format of main
	buf lint && buf format --diff --exit-code
	! git ls-tree --name-only main proto 2>/dev/null | grep -q proto || buf breaking --against '.git#branch=main'
	d=$$(mktemp -d) && $(PROTOC) --python_out=$$d --grpc_python_out=$$d --mypy_out=quiet:$$d \
	  --mypy_grpc_out=quiet:$$d $(PROTOS) && diff -ru -x __init__.py -x __pycache__ antipodes/v1 $$d/antipodes/v1

bench: $(STAMP)  ## Measure: YCSB workloads, replication, ratios to the bare limits
	antipodes bench $(ARGS)

clean:  ## Remove what the targets made
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* build dist
