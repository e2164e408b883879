# openmetering: everything a reader or a contributor needs, from a fresh clone.
# Needs python3 (3.11 or newer) with venv, make, and a package index.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   := requirements/lock.txt
JOBS   ?= 2
PIP    := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
CORE   := wire codec security telegram protocol
FLOOR  := 98

empty :=
space := $(empty) $(empty)
comma := ,
CORE_TESTS := $(addprefix tests/,$(CORE)) tests/tables
CORE_FILES := $(subst $(space),$(comma),$(foreach part,$(CORE),src/openmetering/$(part)/*))

.DEFAULT_GOAL := help
.PHONY: help venv dev run test check lint types contracts cover rest docs screenshots bench stress property soak fuzz format lock clean

help: ## this list
	@echo "openmetering: make TARGET"
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# --- the environment -------------------------------------------------------

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	  echo "openmetering: '$(PYTHON)' was not found. Install Python 3.11 or newer, or name it: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "openmetering: Python 3.11 or newer is needed; '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1). Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' >/dev/null 2>&1 || { \
	  echo "openmetering: '$(PYTHON)' comes without the venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "openmetering: creating $(VENV) with $$("$(PYTHON)" -V)"
	@"$(PYTHON)" -m venv --clear $(VENV)

# The package as a user has it: enough for `make run`.
$(VENV)/.stamp: pyproject.toml $(LOCK) | $(BIN)/python
	@echo "openmetering: installing the package (versions pinned in $(LOCK))"
	@$(PIP) install --quiet --constraint $(LOCK) hatchling editables
	@$(PIP) install --quiet --constraint $(LOCK) --no-build-isolation --editable '.[all]'
	@touch $@

# The tools of a contributor on top of it.
$(VENV)/.stamp-dev: $(VENV)/.stamp
	@echo "openmetering: installing the tools for tests, docs and benchmarks"
	@$(PIP) install --quiet --constraint $(LOCK) --no-build-isolation --editable '.[all,dev,docs,bench]'
	@$(PIP) install --quiet --no-deps --upgrade --target $(VENV)/pymeterbus-0.8.4 pyMeterBus==0.8.4
	@touch $@

venv: $(VENV)/.stamp ## create the environment in .venv with the package
dev: $(VENV)/.stamp-dev ## the same with all tools of a contributor

# --- use -------------------------------------------------------------------

run: $(VENV)/.stamp ## show the whole system: a simulated building, a head-end with a year of history, its page
	@exec $(BIN)/oms up --demo

# --- check -----------------------------------------------------------------

test: $(VENV)/.stamp-dev ## all tests, and the examples of README and docs
	@$(PYTEST) -n $(JOBS)

lint: $(VENV)/.stamp-dev ## ruff: rules and layout
	@$(BIN)/ruff check --no-cache .
	@$(BIN)/ruff format --no-cache --check .

types: $(VENV)/.stamp-dev ## mypy, strict
	@$(BIN)/mypy

contracts: $(VENV)/.stamp-dev ## who may import whom
	@$(BIN)/lint-imports

cover: $(VENV)/.stamp-dev ## tests of the core floors with their branch coverage, which must reach the floor
	@$(PYTEST) -n $(JOBS) $(CORE_TESTS) $(addprefix --cov=src/openmetering/,$(CORE)) --cov-branch --cov-report=
	@$(BIN)/coverage report --include='$(CORE_FILES)' --fail-under=$(FLOOR)

# Tracing doubles the time of a test, so only the tests of the traced floors run under it.
rest: $(VENV)/.stamp-dev ## all other tests
	@$(PYTEST) -n $(JOBS) $(addprefix --ignore=,$(CORE_TESTS))

check: lint types contracts docs cover rest ## everything CI runs: all of `make test`, and the rest
	@echo "openmetering: all checks passed"

docs: $(VENV)/.stamp-dev ## build the documentation; a warning is an error
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "openmetering: documentation in docs/_build/html/index.html"

screenshots: $(VENV)/.stamp-dev ## take the pictures of the documentation, by the same walk that tests the pages
	@OPENMETERING_SCREENSHOTS=docs/_static/page OPENMETERING_REQUIRE_SERVICES=1 $(PYTEST) tests/interfaces/web/browser/test_walk.py

bench: $(VENV)/.stamp-dev ## the table of speeds and ratios
	@$(BIN)/python benchmarks/run.py
	@$(BIN)/python benchmarks/store.py --demand 10000

stress: $(VENV)/.stamp-dev ## kill -9 200 times and an outage of the broker, with each database: about 17 minutes
	@OPENMETERING_STRESS_KILLS=200 OPENMETERING_STRESS_TELEGRAMS=200000 OPENMETERING_STRESS_OUTAGE=120 \
	  OPENMETERING_REQUIRE_SERVICES=1 $(PYTEST) -s tests/stress

property: $(VENV)/.stamp-dev ## a property of 203 meters over a year, with and without faults: validation, bill, closed months
	@OPENMETERING_PROPERTY_METERS=203 $(PYTEST) tests/services/mdm/test_property.py

soak: $(VENV)/.stamp-dev ## memory over an hour of replay at 20 times real time
	@$(BIN)/python benchmarks/soak.py

fuzz: $(VENV)/.stamp-dev ## mutated telegrams: only our errors, no hang, no growth
	@$(BIN)/python fuzz/run.py

# --- care ------------------------------------------------------------------

format: $(VENV)/.stamp-dev ## mend layout and what ruff can mend by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(VENV)/.stamp-dev ## write the installed versions to the lock
	@$(BIN)/python requirements/freeze.py > $(LOCK).new
	@mv $(LOCK).new $(LOCK)
	@touch $(VENV)/.stamp $(VENV)/.stamp-dev

clean: ## remove the environment, caches and everything built
	@rm -rf $(VENV) build dist docs/_build docs/reference/generated .coverage .coverage.* htmlcov \
	  .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find src tests benchmarks fuzz docs requirements -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
