# Every target sets up what it needs: a .venv with the package and, for the checks, the development tools.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Tests wait more than they compute: more of them than there are cores.
PYTEST := $(BIN)/python -m pytest -q -n 4 --dist=worksteal

.PHONY: demo test servers storm faults check format bench mermaid clean

demo: $(VENV)/.installed
	@$(BIN)/schema-mcp demo

test: $(VENV)/.installed-dev
	$(PYTEST)

# What `make test` runs on one PostgreSQL alone, on the others.
servers: $(VENV)/.installed-dev
	TEST_SERVERS=others $(PYTEST)

# DDL from several connections while twenty clients list and call, on every server: SECONDS=300, SEED to repeat one.
SECONDS ?= 180
storm: $(VENV)/.installed-dev
	STORM_SECONDS=$(SECONDS) STORM_SERVERS=all $(if $(SEED),STORM_SEED=$(SEED)) \
		$(BIN)/python -m pytest -q -s -p no:xdist tests/storm

# Every fault under writers: for MINUTES, which writes the table of docs/reliability.md; once each with SECONDS=1.
MINUTES ?= 30
faults: $(VENV)/.installed-dev
	$(BIN)/python -m tests.faults $(if $(SEED),--seed $(SEED)) \
		$(if $(filter file,$(origin SECONDS)),--seconds $$(($(MINUTES) * 60)) --write,--seconds $(SECONDS))

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Diagrams of hundreds of hostile schemas, read by Mermaid's own parser; where there is no npm it says so and goes on.
mermaid: $(VENV)/.installed-dev
	$(BIN)/python -m tests.mermaid.check

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "schema-mcp needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing schema-mcp into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing schema-mcp and its development tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache
