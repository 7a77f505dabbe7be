# Everything a contributor or CI does. `make demo` is the place to start.

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# The first of these that runs and is new enough; or say make PYTHON=...
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
WORKERS ?= 2

# One thread per process is the setting in which runs reproduce to the last bit.
export OMP_NUM_THREADS := 1
# Compiled once, and not again by each of the many processes that tests start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install into demo test test-fast test-all test-fuzz check docs wheel clean

help:
	@echo 'make demo       install, then one small run with tables and pictures'
	@echo 'make install    a virtual environment in .venv with the pinned versions'
	@echo 'make test-fast  what to run while you write: no test of more than a few seconds'
	@echo 'make test       what to run before you hand something in'
	@echo 'make test-all   the exhaustive ones, too: what CI runs'
	@echo 'make check      lint, format and types'
	@echo 'make docs       rewrite docs/components.md and docs/metrics.md'
	@echo 'make wheel      build dist/*.whl'

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed; say make PYTHON=...'; exit 1; }
	test -x $(BIN)/python || '$(PYTHON)' -m venv $(VENV)
	@$(MAKE) --no-print-directory into ENV=$(VENV) WHAT="-e '.[dev]'"
	@touch $@

# uv takes a quarter of the time, but reads none of pip's own settings: it is told of two of them, and
# where it fails, pip has its turn.
into:
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv || true
	@said() { $(BIN)/python -m pip config get "global.$$1" 2>/dev/null; }; \
	links="$${PIP_FIND_LINKS:-$$(said find-links)}"; index="$${PIP_INDEX_URL:-$$(said index-url)}"; \
	set -x; \
	$(BIN)/uv pip install --quiet --python $(ENV)/bin/python $${links:+--find-links "$$links"} \
		$${index:+--index-url "$$index"} -c constraints.txt $(WHAT) \
	|| $(ENV)/bin/python -m pip install --quiet -c constraints.txt $(WHAT)

demo: install
	$(BIN)/xai-bench run experiment=demo

PYTEST := $(BIN)/pytest -n $(WORKERS) --dist worksteal

test-fast: install
	$(PYTEST) -m 'not slow and not exhaustive and not gpu and not network'

test: install
	$(PYTEST) -m 'not exhaustive and not gpu and not network'

test-all: install
	$(PYTEST) -m 'not gpu and not network'

test-fuzz: install
	XAI_BENCH_FUZZ=full $(PYTEST) tests/data/test_fuzz.py tests/runner/config/test_override_fuzz.py \
		tests/runner/config/test_experiment_fuzz.py \
		tests/results/test_damage.py tests/runner/commands/test_full_disk.py

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	$(BIN)/xai-bench list --markdown > docs/components.md
	$(BIN)/xai-bench check --markdown > docs/metrics.md

wheel: install
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
