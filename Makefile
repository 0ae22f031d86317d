# Each target makes .venv by itself; only Python 3.11+ and make are needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test run lint style types layers wheel recipes engines clean
.DELETE_ON_ERROR:

demo: .venv/installed
	$(BIN)/recorder demo

test: .venv/developing
	$(BIN)/pytest

run: .venv/installed
	$(BIN)/recorder run

lint: style types layers

style: .venv/developing
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/developing
	$(BIN)/mypy

layers: .venv/developing
	$(BIN)/lint-imports

wheel: .venv/bin/python
	.ci/wheel

# What the examples in docs/recipes.md need, each in an environment of its own.
recipes: $(patsubst .ci/recipes/%.txt,.recipes/%/installed,$(wildcard .ci/recipes/*.txt))

# Asks all engines the same of one archive, a copy in object storage the same as the folder, and Spark as a cluster; and
# lets other tools load what is exported for them. What cannot be installed is listed as such.
engines: .venv/developing
	-$(MAKE) --jobs=2 --keep-going $(patsubst .ci/engines/%.txt,.recipes/%/installed,$(wildcard .ci/engines/*.txt))
	$(BIN)/python -m benchmarks.engines
	$(BIN)/python -m benchmarks.engines.object_storage
	$(BIN)/python -m benchmarks.engines.spark
	$(BIN)/python -m benchmarks.exports

vpath %.txt .ci/recipes .ci/engines
.recipes/%/installed: %.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

clean:
	rm -rf .venv .recipes

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; name one with: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[plots]'
	@touch $@

.venv/developing: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@ .venv/installed
