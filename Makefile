# Two commands set up all they need in .venv: `make run` and `make test`. `make help` lists the others.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest -n 2 --dist loadgroup
# What looks after dependencies, and what the Lambda carries and nothing else: each an environment of its own.
TOOLS := .venv-tools
PACKAGED := .venv-packaged
# Installs ten times as fast as pip, which installs it.
UV := $(VENV)/bin/uv
INSTALL := $(UV) pip install --quiet --require-hashes
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras

# What a failed installation means; what pip or uv says of it is above.
NOT_INSTALLED = { echo "Not everything could be installed; the reason is above. It comes over the network: connect, and run make again." >&2; exit 1; }

.PHONY: run demo smoke console screenshots cast test unit clients coverage mutants kills lint typecheck fmt bench soak lock audit sbom prices licences help clean
.DEFAULT_GOAL := run

$(UV): requirements-installer.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Atoll needs Python 3.11 or newer")'
	@echo "Setting up $(VENV): this is done once, and takes about a minute."
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --retries 1 --require-hashes -r requirements-installer.txt || $(NOT_INSTALLED)
	@touch $@

$(VENV)/.installed: $(UV) requirements.txt requirements-dev.txt pyproject.toml
	@echo "Installing what Atoll needs into $(VENV) …"
	@$(INSTALL) --python $(PY) -r requirements-dev.txt || $(NOT_INSTALLED)
	@$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

$(TOOLS)/.installed: $(UV) requirements-tools.txt
	$(UV) venv --quiet --clear --python $(PY) $(TOOLS)
	$(INSTALL) --python $(TOOLS)/bin/python -r requirements-tools.txt
	@touch $@

$(PACKAGED)/.installed: $(UV) requirements.txt
	$(UV) venv --quiet --clear --python $(PY) $(PACKAGED)
	$(INSTALL) --python $(PACKAGED)/bin/python -r requirements.txt
	@touch $@

run: $(VENV)/.installed ## serve Atoll on this machine, port 5555 (PORT, DATA, AGENTS, CONSOLE, LLM_PROXY, ATOLL_API_KEY, ATOLL_WEBHOOK_SECRET)
	@$(PY) -m infra.web_console || true
	@exec $(PY) -m infra.local

console: $(VENV)/.installed ## build the web console, when its sources have changed
	@$(PY) -m infra.web_console

screenshots: console ## make the pictures of the console in docs/console
	@exec $(PY) -m tests.console.screenshots

cast: $(VENV)/.installed ## make the picture of a followed session in docs/first.svg
	@exec $(PY) -m tests.cast

demo: $(VENV)/.installed ## watch one session from its POST to its signed end report
	@exec $(PY) -m infra.local.demo

test: lint ## everything CI checks
	@$(PY) -m infra.web_console || true
	$(PYTEST)

unit: $(VENV)/.installed ## the unit tests, with fewer examples each: run it after every change
	HYPOTHESIS_PROFILE=quick $(PYTEST) tests/unit

clients: $(VENV)/.installed ## agents on every MCP client of tests/clients and in LangGraph, each installed in an environment of its own
	$(PYTEST) -m "" tests/integration/mcp/test_clients.py tests/integration/models/test_examples.py

coverage: $(VENV)/.installed ## which lines of chalicelib and infra the tests reach (ONLY="tests/unit tests/integration")
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html:build/coverage $(ONLY)

mutants: $(VENV)/.installed ## change the code at random and see whether tests notice (SAMPLE, MINUTES, SEED, JOBS, ONLY)
	@exec $(PY) -m tests.mutants

kills: $(VENV)/.installed ## kill `make run` fifty times while it is written to, and look for what is lost (KILLS, SEED)
	@exec $(PY) -m tests.kills

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

soak: $(VENV)/.installed ## drive a local stack for 10 minutes and look for what it holds on to (MINUTES)
	@exec $(PY) -m bench.soak

lock: $(UV) ## pin what requirements*.in ask for and all that it needs, with hashes (UPGRADE=--upgrade: newer versions)
	$(COMPILE) $(UPGRADE) requirements.in --output-file requirements.txt
	$(COMPILE) $(UPGRADE) -c requirements.txt requirements-dev.in --output-file requirements-dev.txt
	$(COMPILE) $(UPGRADE) -c requirements-dev.txt agents/requirements.in --output-file agents/requirements.txt
	$(COMPILE) $(UPGRADE) requirements-tools.in --output-file requirements-tools.txt
	$(COMPILE) $(UPGRADE) requirements-installer.in --output-file requirements-installer.txt

prices: $(VENV)/.installed ## write the table of what language models cost out of the pinned genai-prices
	@exec $(PY) -m infra.prices

audit: $(TOOLS)/.installed ## look for known vulnerabilities of everything that is pinned
	$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.txt
	$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes -r requirements-dev.txt
	$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes -r requirements-tools.txt
	$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes -r requirements-installer.txt

sbom: $(PACKAGED)/.installed $(TOOLS)/.installed ## write what the Lambda carries into build/sbom.json (CycloneDX)
	@mkdir -p build
	$(TOOLS)/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --output-file build/sbom.json $(PACKAGED)/bin/python

licences: $(PACKAGED)/.installed $(TOOLS)/.installed ## list the licences of what the Lambda carries in docs/licences.md
	@mkdir -p build
	@sed '/^|/,$$d' docs/licences.md > build/licences.md
	$(TOOLS)/bin/pip-licenses --python=$(PACKAGED)/bin/python --from=mixed --format=markdown --with-urls >> build/licences.md
	@mv build/licences.md docs/licences.md

smoke: $(VENV)/.installed ## deploy a throwaway stage to AWS, check it, delete all of it (STAGE, ARGS="--region … --way … --yes")
	@exec $(VENV)/bin/atoll smoke --stage $(or $(STAGE),smoke) $(ARGS)

help: ## list these commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{printf "make %-10s %s\n", $$1, $$2}'

clean: ## remove all that the other commands have made
	rm -rf $(VENV) .venv-* tests/clients/*/node_modules tests/console/node_modules console/node_modules chalicelib/ui .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* build
