# Two commands set up all they need in .venv: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: run demo test lint bench clean
.DEFAULT_GOAL := run

$(VENV)/.installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Atoll needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

run: $(VENV)/.installed ## serve Atoll on this machine, port 5555 (PORT, ATOLL_API_KEY, ATOLL_WEBHOOK_SECRET, AGENTS)
	@exec $(PY) -m infra.local

demo: $(VENV)/.installed ## watch one session from its POST to its signed end report
	@exec $(PY) -m infra.local.demo

test: lint ## everything CI checks
	$(PY) -m pytest -n 2 --dist loadgroup

bench: $(VENV)/.installed ## measure everything; `make bench ONLY="calls money"` measures that
	@exec $(PY) -m bench $(ONLY)

lint: $(VENV)/.installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis build
