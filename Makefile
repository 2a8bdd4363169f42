# Everything a person needs; each command sets up what it lacks. See README.md.
#
#   make demo [DIR=folder]   the pool at work on real files
#   make test                lint, types and all tests, on a real Redis and a real RabbitMQ
#   make conformance         Celery's own integration tests, on this pool and on prefork
#   make bench               this pool beside prefork and a pool that runs nothing

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
RUN := $(BIN)/python -m tools.services run

.PHONY: demo test lint format conformance bench clean

demo: $(VENV)/.demo
	@exec $(BIN)/python -m demo $(if $(DIR),"$(DIR)")

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
	$(RUN) $(BIN)/python -m tools.conformance $(ARGS)

bench: $(VENV)/.test
	$(RUN) $(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# A virtual environment with the package's extra of that name.
$(VENV)/.%: pyproject.toml tools/setup.sh
	@PYTHON="$(PYTHON)" sh tools/setup.sh "$(VENV)" $*
	@touch $@
