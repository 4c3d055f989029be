# firstboot: everything a person runs. `make` alone says what there is.

PYTHON ?= python3
JOBS ?= 4
ARGS ?=
TIMES ?= 20
FUZZ := tests/mqtt/test_codec_fuzz.py tests/server/http/test_fuzz.py tests/server/coap/test_bad_input.py \
	tests/server/http/operator/test_schemathesis.py
SOAK := tests/e2e/test_soak.py tests/e2e/test_herd.py
VENV := .venv
BIN := $(VENV)/bin
# What demo, flash and firmware need; and what all the rest needs.
BASE := $(VENV)/.base
READY := $(VENV)/.ready
# CI installs exactly what requirements.lock names; everyone else what pyproject.toml allows.
LOCK := $(if $(CI),-c requirements.lock)
TOOLS_LOCK := $(if $(CI),-c requirements.tools.lock)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Hundreds of processes would each compile the same modules again, and pytest rewrite the same asserts.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo flash firmware test test-virtual test-all fuzz matrix soak mutants check bench clean

help: ## Say what each of these does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Set up .venv with everything the others need (they call it themselves)

$(BASE): pyproject.toml requirements.lock requirements.tools.lock
	@echo "setting up $(VENV) (once; takes half a minute) ..."
	@$(PYTHON) -c 'import sys; sys.exit("firstboot needs Python 3.11 or later: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install $(LOCK) --upgrade 'pip>=25.1'
	@$(PIP) install $(LOCK) --editable '.[labels]'
	@$(BIN)/python -m bench.virtual.unix_port
	@touch $@

$(READY): $(BASE)
	@echo "setting up $(VENV) for tests (once; takes a minute) ..."
	@$(PIP) install $(LOCK) --editable '.[all]' --group dev $(if $(CI),--group node)
	@rm -rf build/typings build/clients build/tools build/images
	@$(PIP) install $(LOCK) --target build/typings --group typings
	@$(PIP) install $(LOCK) --target build/clients --group clients
	@$(PIP) install $(TOOLS_LOCK) --no-compile --target build/tools --group tools
	@$(PIP) install $(LOCK) --target build/images --no-deps --group images
	@touch $@

demo: $(BASE) ## First boot of a blank virtual board, and its second one (ARGS=--keep leaves both running)
	@$(BIN)/bench demo $(ARGS)

flash: $(BASE) ## A board from blank to online (PORT=/dev/ttyUSB0 BOARD=esp32_generic; the rest is in bench.toml)
	@$(BIN)/bench flash $(if $(PORT),--port $(PORT)) $(if $(BOARD),--board $(BOARD)) $(ARGS)

firmware: $(BASE) ## Compile the device package into build/firmware/, with a manifest to freeze it (ARGS=--json)
	@$(BIN)/bench firmware build $(ARGS)

test: $(READY) ## Unit, firmware, server and end-to-end tests, in parallel (ARGS="-k vault" for some)
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow" $(ARGS)

test-virtual: $(READY) ## The tests of boards once more, with every board behind a serial line
	@$(BIN)/python -m pytest -n $(JOBS) -m "not slow" tests/dut tests/e2e tests/cli tests/virtual tests/flash tests/faults --bench-target virtual $(ARGS)

test-all: $(READY) ## Those that take their time as well, with every cell, step and interruption: for the night
	@FIRSTBOOT_FUZZ=$(TIMES) FIRSTBOOT_SOAK=$(TIMES) FIRSTBOOT_MATRIX=full FIRSTBOOT_WALK=1 \
		$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --timeout 0 --durations 20 $(ARGS)
	@$(MAKE) --no-print-directory test-virtual

fuzz: $(READY) ## The fuzz tests, with twenty times the examples (TIMES=100 for more)
	@FIRSTBOOT_FUZZ=$(TIMES) $(BIN)/python -m pytest -n $(JOBS) $(FUZZ) $(ARGS)

matrix: $(READY) ## Every cell of the fault matrix (CELL=... for the one that a failure names)
	@FIRSTBOOT_MATRIX=$(or $(CELL),full) $(BIN)/python -m pytest -n $(JOBS) tests/e2e/test_fault_matrix.py $(ARGS)

soak: $(READY) ## A day of a board's life in minutes, and a herd of 200 (TIMES=100 for a longer day)
	@FIRSTBOOT_SOAK=$(TIMES) $(BIN)/python -m pytest -n 2 --timeout 0 $(SOAK) $(ARGS)

mutants: $(READY) ## Break the decisions of board, server and registry, and see the fast tests notice (ARGS="limits --jobs 2")
	@test -d build/mutants || $(PIP) install $(LOCK) --target build/mutants --group mutants
	@PYTHONPATH=build/mutants:host $(BIN)/python -m tests.mutants $(ARGS)

check: $(READY) ## Linter, format, wording, imports between rooms, types, then the tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m tests.wording
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mypy
	@$(BIN)/mypy --config-file firmware/mypy.ini
	@$(MAKE) --no-print-directory test

bench: $(READY) ## Benchmarks, as a table and as JSON under benchmarks/results/
	@$(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove what setup, demo, tests and benchmarks made (not benchmark results, not .bench)
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
