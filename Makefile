# One environment in $(VENV), installed with uv and pinned by constraints.txt. The equivalent with pip:
#   python3 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt -e '.[all,dev]'
VENV ?= .venv
PYTHON ?= python3
ARGS ?=

BIN := $(VENV)/bin
INSTALL = $(BIN)/uv pip install --python $(BIN)/python -c constraints.txt
MANIFEST := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint bench docs figures clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'Variables: VENV=folder (now $(VENV)), PYTHON=interpreter, ARGS="options of the command"'

demo: $(VENV)/.demo ## Train a small ViG on real digits and draw its graphs (ARGS: options of pyg-vig train)
	$(BIN)/pyg-vig train $(ARGS)

test: $(VENV)/.dev ## Run the test suite, with the compiled extensions (ARGS: options of pytest)
	$(BIN)/python scripts/install_extensions.py
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(ARGS)

lint: $(VENV)/.dev ## Check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev ## Measure speed and memory (ARGS: options of benchmarks, such as --reference DIR)
	$(BIN)/python -m benchmarks $(ARGS)

figures: $(VENV)/.dev ## Redraw the figures of the documentation (ARGS: options of scripts/figures.py)
	$(BIN)/python scripts/figures.py $(ARGS)

docs: $(VENV)/.docs ## Build the documentation into build/site (ARGS: options of mkdocs build)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

clean: ## Remove caches and build output, not the environment
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path './.?*' -prune -o -name __pycache__ -type d -exec rm -rf {} +

# The stamp file is written last, so that an interrupted set-up starts again.
$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "Expected Python 3.11 or newer for the pinned versions: choose one with make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@touch $@

$(VENV)/.demo: $(VENV)/.uv $(MANIFEST)
	$(INSTALL) -e '.[images,plot,train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.uv $(MANIFEST)
	$(INSTALL) -e '.[all,dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.uv $(MANIFEST)
	$(INSTALL) -e '.[all,docs]'
	@touch $@
