# Two commands set up all they need in .venv: `make run` and `make test`. `make help` lists the others.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest -n 2 --dist loadgroup

.PHONY: run demo console screenshots test unit clients coverage mutants lint typecheck fmt bench help clean
.DEFAULT_GOAL := run

$(VENV)/.installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Atoll needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

run: $(VENV)/.installed ## serve Atoll on this machine, port 5555 (PORT, ATOLL_API_KEY, ATOLL_WEBHOOK_SECRET, AGENTS, CONSOLE)
	@$(PY) -m infra.web_console || true
	@exec $(PY) -m infra.local

console: $(VENV)/.installed ## build the web console, when its sources have changed
	@$(PY) -m infra.web_console

screenshots: console ## make the pictures of the console in docs/console
	@exec $(PY) -m tests.console.screenshots

demo: $(VENV)/.installed ## watch one session from its POST to its signed end report
	@exec $(PY) -m infra.local.demo

test: lint ## everything CI checks
	@$(PY) -m infra.web_console || true
	$(PYTEST)

unit: $(VENV)/.installed ## the unit tests, with fewer examples each: run it after every change
	HYPOTHESIS_PROFILE=quick $(PYTEST) tests/unit

clients: $(VENV)/.installed ## agents on every MCP client of tests/clients, each installed in an environment of its own
	$(PYTEST) -m "" tests/integration/mcp/test_clients.py

coverage: $(VENV)/.installed ## which lines of chalicelib and infra the tests reach (ONLY="tests/unit tests/integration")
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html:build/coverage $(ONLY)

mutants: $(VENV)/.installed ## change the code at random and see whether tests notice (SAMPLE, MINUTES, SEED, JOBS, ONLY)
	@exec $(PY) -m tests.mutants

lint: typecheck ## style, formatting, types, text files
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m tests.texts

typecheck: $(VENV)/.installed ## types
	$(PY) -m mypy

fmt: $(VENV)/.installed ## put all Python files into the project's format
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .

bench: $(VENV)/.installed ## measure everything; `make bench ONLY="calls money"` measures that
	@exec $(PY) -m bench $(ONLY)

help: ## list these commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{printf "make %-10s %s\n", $$1, $$2}'

clean: ## remove all that the other commands have made
	rm -rf $(VENV) .venv-* tests/clients/*/node_modules tests/console/node_modules console/node_modules chalicelib/ui .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* build
