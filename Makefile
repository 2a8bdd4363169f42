# Each command sets up what it lacks; `make` alone lists them.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
RUN := $(BIN)/python -m tools.services run

.PHONY: help demo test lint format conformance bench clean

help:
	@echo 'make demo [DIR=folder]                  the facade at work on real files'
	@echo 'make test [ARGS=…]                      lint, types, and all tests on real servers'
	@echo 'make lint                               lint and types only'
	@echo 'make format                             mend what lint can mend'
	@echo 'make conformance                        Celery'\''s own integration tests, here and on prefork'
	@echo 'make bench                              side by side with prefork'
	@echo 'make clean                              remove the virtual environment and caches'
	@echo
	@echo 'PYTHON=python3.12 chooses the interpreter (3.11 or newer), VENV=folder where it is set up.'

# Through the environment, so that the shell does not take the folder's name apart.
demo: export DIR := $(DIR)
demo: $(VENV)/.demo
	@exec $(BIN)/python -m demo -- $${DIR:+"$$DIR"}

test: lint
	$(RUN) $(BIN)/python -m pytest -n 4 --dist loadgroup $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

conformance: $(VENV)/.test
	$(BIN)/python -m tools.conformance $(ARGS)

bench: $(VENV)/.test
	$(RUN) $(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Who asks for an interpreter gets no other, even if an environment is there.
ifneq ($(origin PYTHON),file)
.PHONY: interpreter
interpreter:
	@PYTHON="$(PYTHON)" sh tools/setup.sh "$(VENV)"
demo test lint format conformance bench: | interpreter
endif

# A virtual environment with the package's extra of that name.
$(VENV)/.%: pyproject.toml tools/setup.sh
	@PYTHON="$(PYTHON)" sh tools/setup.sh "$(VENV)" $*
	@touch $@
