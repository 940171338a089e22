# What a developer runs. Every target makes the .venv it needs; a fresh machine has only Python 3.11+, git, make
# and a network. tox calls the same recipes with BIN set to its own environment.
#
#   PYTHON=python3.12   interpreter of a new .venv (default: the newest on PATH; `make clean` first to change it)
#   ARGS="-k name"      further arguments of pytest, of the demo or of the bench

BIN ?= .venv/bin/
ARGS ?=
STAMP := .venv/.stamp
SETUP := $(if $(filter .venv/bin/,$(BIN)),$(STAMP))
TYPED := kernel $(sort $(patsubst %/,%,$(dir $(wildcard adapters/*/__init__.py plugins/*/__init__.py conformance/*/__init__.py))))

# The suites whose reports make docs/capabilities.md.
REPORTED := memory sqlite redis rabbitmq sqs pools serializers

export PYTHONUNBUFFERED := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check bench bench-peers setup format lint types imports docs fuzz perf prove flows soak clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

demo: $(SETUP)  ## see it work: two worker processes hash a tree (ARGS=--kill: one of them is killed)
	$(BIN)kernel demo $(ARGS)

test: $(SETUP)  ## the whole suite; missing servers are installed or named
	.ci/services
	.ci/suite $(BIN)python $(ARGS)

check: lint types imports  ## format, lint, types, import contracts

bench: $(SETUP)  ## measure this machine
	$(BIN)python -m bench $(ARGS)

bench-peers: $(SETUP)  ## measure Celery, dramatiq, taskiq, RQ and huey beside it (25 minutes; ARGS=--quick: 7)
	$(BIN)python -m bench.peers $(ARGS)

setup: $(SETUP)  ## make the .venv and install everything into it

format: $(SETUP)  ## rewrite the files in the house format
	$(BIN)python -m ruff format .
	$(BIN)python -m ruff check --fix .

lint: $(SETUP)  ## ruff: format and rules
	$(BIN)python -m ruff format --check .
	$(BIN)python -m ruff check .

types: $(SETUP)  ## mypy --strict
	$(BIN)python -m mypy --strict $(TYPED)

imports: $(SETUP)  ## import contracts
	$(BIN)lint-imports

docs: $(SETUP)  ## docs/capabilities.md, from a run of the conformance suite
	.ci/services
	rm -rf build/conformance
	$(BIN)python -m pytest -q $(addprefix tests/conformance/test_,$(addsuffix .py,$(REPORTED))) \
		--kernel-conformance-report=build/conformance
	$(BIN)python -m kernel_conformance compare build/conformance --output docs/capabilities.md

prove: $(SETUP)  ## try to lose a task: crash points, random faults, models, mutants (hours; ARGS=--quick: a part)
	.ci/services
	PYTHONPATH=tests $(BIN)python -m faults $(ARGS)

flows: $(SETUP)  ## thousands of random workflows, with crashes, on memory, SQLite and Redis (half an hour; ARGS="-k redis")
	.ci/services
	KERNEL_FLOW_RUNS=$${KERNEL_FLOW_RUNS:-2000} $(BIN)python -m pytest -q -s tests/flows/test_workers.py $(ARGS)

soak: $(SETUP)  ## half an hour of mixed load, in which nothing may grow (ARGS="--minutes 5 --on sqlite")
	.ci/services
	PYTHONPATH=tests $(BIN)python -m faults.soak $(ARGS)

fuzz: $(SETUP)  ## fuzz what reads bytes of strangers (ARGS="--seconds 600"; with atheris where it is installed)
	PYTHONPATH=tests $(BIN)python -m fuzz $(ARGS)

perf: $(SETUP)  ## the tests that count calls and imports
	$(BIN)python -m pytest tests/perf $(ARGS)

clean:  ## remove the .venv and every cache
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .tox

$(STAMP): pyproject.toml .ci/venv
	.ci/venv
	.venv/bin/python -m pip install --quiet --editable '.[dev]'
	@touch $@
