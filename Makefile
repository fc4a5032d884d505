# `make help` lists the verbs. Everything runs in .venv, everything that is made lies in .sandbox; git ignores both.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.installed
SANDBOX := $(PY) -m sandbox
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes
export PYTHONPATH := $(CURDIR)/plugins:$(CURDIR)

##@ See it

.PHONY: demo up stop status logs trigger mails psql env
demo: $(STAMP) ## Start clean, run every job once, print a table (ARGS=--once stops at the end and fails if a job failed)
	@$(SANDBOX) demo $(ARGS)

up: $(STAMP) ## Start Airflow and the sandbox, trigger nothing (CP_OPS_SCHEDULES=on lets schedules fire, CP_OPS_AIRFLOW_PORT=n)
	@$(SANDBOX) up

stop: $(STAMP) ## Stop everything, keep the data
	@$(SANDBOX) down

status: $(STAMP) ## Tell what runs and where
	@$(SANDBOX) status || true

logs: $(STAMP) ## Show the end of the logs (SERVICE=airflow, LINES=100)
	@$(SANDBOX) logs $(SERVICE) --lines $(or $(LINES),30)

trigger: $(STAMP) ## Run one job and show its outcome (JOB=check_stale_deals CONF='{"dry_run": true}')
	@test -n "$(JOB)" || { echo "which job? make trigger JOB=check_stale_deals CONF='{\"dry_run\": true}'" >&2; exit 2; }
	@$(SANDBOX) trigger "$(JOB)" $(if $(CONF),'$(CONF)')

mails: $(STAMP) ## List the mails that were sent (NUMBER=n shows one)
	@$(SANDBOX) mails $(NUMBER)

psql: $(STAMP) ## Open psql on the application's database (DATABASE=airflow: on Airflow's)
	@$(SANDBOX) psql $(DATABASE)

env: $(STAMP) ## Print the sandbox's connections and settings for a shell: eval "$$(make -s env)"
	@$(SANDBOX) env

##@ Work on it

.PHONY: install test test-nightly lint format docs migrate lock clean help
install: $(STAMP) ## Make the virtual environment and install the pinned requirements

test: $(STAMP) ## Run the tests (ARGS='-k stale_deals'; PG_BIN=/usr/lib/postgresql/15/bin runs them on that PostgreSQL)
	@$(PY) -m pytest --numprocesses=auto $(ARGS)

test-nightly: $(STAMP) ## Run the long loops: 200 kills where `make test` has 20
	@$(PY) -m pytest -m nightly $(ARGS)

lint: $(STAMP) ## Check style, types, layers, complexity, dead code and that the generated docs are current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict plugins/cp_ops sandbox benchmarks docs/*.py
	$(BIN)/lint-imports
	$(BIN)/complexipy --plain
	$(BIN)/vulture
	$(PY) docs/dags_md.py --check

format: $(STAMP) ## Rewrite the code in the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

docs: $(STAMP) ## Generate DAGS.md and the tables of README.md
	$(PY) docs/dags_md.py

migrate: $(STAMP) ## Bring schema cp_ops to the newest version (CP_OPS_DSN=postgresql://..., else the sandbox's database)
	@set -a; test -n "$${CP_OPS_DSN:-}" || . .sandbox/env; set +a; $(PY) -m cp_ops.runtime.migrations upgrade

lock: $(STAMP) ## Resolve requirements*.in into requirements*.txt (ARGS=--upgrade, or ARGS='--upgrade-package stripe')
	$(BIN)/uv pip compile $(UV_COMPILE) $(ARGS) requirements.in -o requirements.txt
	$(BIN)/uv pip compile $(UV_COMPILE) $(ARGS) requirements-dev.in -o requirements-dev.txt
UV_COMPILE := --quiet --universal --python-version 3.11 --generate-hashes --no-header

clean: $(STAMP) ## Stop everything and delete the sandbox's data and the tools' caches
	@$(SANDBOX) clean
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .complexipy_cache

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { sub(/\$$\$$/, "$$", $$2); printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# uv is taken from the lock with its hash, then installs the rest in seconds; where uv cannot, pip does it in minutes.
$(STAMP): requirements.txt requirements-dev.txt
	@python=$$(.ci/python) && test -x $(PY) || "$$python" -m venv $(VENV) || { \
		rm -rf $(VENV); echo "$$python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing the pinned requirements into $(VENV)"
	@awk '/^uv==/ { found = 1; print; next } found && /^[^ ]/ { exit } found' requirements-dev.txt > $(VENV)/uv.txt
	@{ test -x $(BIN)/uv || $(PIP) -r $(VENV)/uv.txt; } && \
		$(BIN)/uv pip install --quiet --python $(PY) --compile-bytecode --require-hashes -r requirements-dev.txt || \
		$(PIP) -r requirements-dev.txt
	@touch $@
