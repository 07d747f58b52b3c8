# Everything a fresh machine needs beyond Python 3.11+ and make is set up here.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ADDRESS ?= 127.0.0.1:8080
# What pytest gets. The tests are independent, and wait more than they compute: one process more than there are cores.
CORES  := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PYTEST ?= -n $(shell expr $(CORES) + 1 \& $(CORES) \< 8 \| 8)
# Seconds for each target of the fuzzer.
FUZZ   ?= 300
# 1: compiled, 0: pure Python, empty: compiled where that works (runner/compiling.py). What looks at single lines needs the pure one.
ARUN_COMPILE ?=
ifneq (,$(filter coverage fuzz,$(MAKECMDGOALS)))
ARUN_COMPILE := 0
endif
export ARUN_COMPILE
INSTALLED := $(VENV)/.installed$(ARUN_COMPILE)
SOURCES := $(shell find runner welcome -type f -not -name '*.pyc') pyproject.toml README.md

.PHONY: help run test coverage lint preflight ceiling reference fuzz wheels clean
.DEFAULT_GOAL := help

help:
	@echo "make run    show the main job: a broken app, and its fallback answering on http://$(ADDRESS)"
	@echo "make test   run all tests        make coverage  and list the lines they miss"
	@echo "make lint   ruff, mypy           make reference   write docs/ anew"
	@echo "make ceiling  count instructions per request against benchmarks/ceilings.toml; CEILING=--write writes that anew"
	@echo "make fuzz   fuzz the HTTP/1 parser, the config readers, and the compiled build beside the pure one, $(FUZZ) seconds each"
	@echo "make wheels wheels for all platforms in dist/    ARUN_COMPILE=0 or 1: pure Python, or compiled"

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

# The package is installed as users get it, not as a link to the checkout: what is missing from the wheel shows. Compiling it
# takes a minute.
$(INSTALLED): $(SOURCES) | $(BIN)/python
	rm -rf $(VENV)/wheel $(VENV)/.installed*
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(VENV)/wheel .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $(VENV)/wheel/*.whl
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(echo $(VENV)/wheel/*.whl)[yaml,metrics]"
	@$(BIN)/arun --version
	@touch $@

run: $(INSTALLED)
	@cd tests/samples/broken && PATH="$(CURDIR)/$(BIN):$$PATH" sh ./show.sh $(ADDRESS)

test: preflight $(VENV)/.tools $(INSTALLED)
	$(BIN)/python -m pytest $(PYTEST)

# The same tests, with every process of theirs watched line by line.
coverage: preflight $(VENV)/.tools $(INSTALLED)
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(PYTEST)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

lint: $(VENV)/.tools $(INSTALLED)
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

# On the interpreter of the system, the same binary everywhere, in an environment of its own.
ceiling:
	/usr/bin/python3 benchmarks/ceiling.py $(CEILING)

reference: $(INSTALLED)
	$(BIN)/python -m arun.settings docs

# What led somewhere is kept in build/fuzz, so that another run goes on from there.
fuzz: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --group fuzz
	sh tests/fuzz/run.sh $(BIN)/python build/fuzz $(FUZZ)
	for build in 0 1; do ARUN_COMPILE=$$build $(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/fuzz/build$$build .; done
	$(BIN)/python -m tests.fuzz.difference $(FUZZ) build/fuzz/difference-found build/fuzz/build1 build/fuzz/build0

# For each CPython, libc and processor a compiled wheel, made in containers (docker), and the pure one for the rest.
wheels: $(BIN)/python
	$(BIN)/python -m pip install --quiet --group wheels
	ARUN_COMPILE=0 $(BIN)/python -m build --wheel --outdir dist
	$(BIN)/python -m cibuildwheel --output-dir dist

clean:
	rm -rf $(VENV) .venv-* build dist .coverage .coverage.* .hypothesis .mypy_cache .ruff_cache .pytest_cache
