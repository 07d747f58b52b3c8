# Everything a fresh machine needs beyond Python 3.11+ and make is set up here.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ADDRESS ?= 127.0.0.1:8080
# What pytest gets; the tests are independent, so each core runs some of them.
PYTEST ?= -n auto --maxprocesses 8
# Seconds for each target of the fuzzer.
FUZZ   ?= 300
SOURCES := $(shell find runner welcome -type f -not -name '*.pyc') pyproject.toml README.md

.PHONY: help run test coverage lint preflight reference fuzz clean
.DEFAULT_GOAL := help

help:
	@echo "make run    show the main job: a broken app, and its fallback answering on http://$(ADDRESS)"
	@echo "make test   run all tests        make coverage  and list the lines they miss"
	@echo "make lint   ruff, mypy           make reference   write docs/ anew"
	@echo "make fuzz   fuzz the HTTP/1 parser and the config readers, $(FUZZ) seconds each"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("arun needs Python 3.11 or later, this is " + sys.version) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# --group needs pip 25.1; the pip that a venv comes with may be older.
$(VENV)/.tools: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group test --group frameworks --group lint
	@touch $@

# The package is installed as users get it, not as a link to the checkout: what is missing from the wheel shows.
$(VENV)/.installed: $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[yaml,metrics]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
	@touch $@

run: $(VENV)/.installed
	@cd tests/samples/broken && PATH="$(CURDIR)/$(BIN):$$PATH" sh ./show.sh $(ADDRESS)

test: preflight $(VENV)/.tools $(VENV)/.installed
	$(BIN)/python -m pytest $(PYTEST)

# The same tests, with every process of theirs watched line by line.
coverage: preflight $(VENV)/.tools $(VENV)/.installed
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(PYTEST)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

lint: $(VENV)/.tools $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What some tests need beyond Python, looked for before anything starts: without it they are left out, and CI fails.
CHROMIUM := $(firstword $(shell command -v chromium chromium-browser google-chrome))
preflight:
	@missing="$(if $(CHROMIUM),,chromium)"; \
	for tool in curl unshare systemd-analyze prometheus redis-server; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	[ -n "$(wildcard /usr/lib/postgresql/*/bin/postgres)" ] || missing="$$missing postgres"; \
	[ "$$(id -u)" -eq 0 ] || missing="$$missing root"; \
	[ -z "$$missing" ] || { echo "tests are left out, as they need:" $$missing; [ -z "$$CI" ]; }

reference: $(VENV)/.installed
	$(BIN)/python -m arun.settings docs

# What led somewhere is kept in build/fuzz, so that another run goes on from there.
fuzz: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group fuzz
	sh tests/fuzz/run.sh $(BIN)/python build/fuzz $(FUZZ)

clean:
	rm -rf $(VENV) .venv-* build dist .coverage .coverage.* .hypothesis .mypy_cache .ruff_cache .pytest_cache
