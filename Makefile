# Everything runs in .venv, which is built when a target first needs it. `make` lists the targets.

PYTHON ?= python3
JOBS ?= 2

VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP_INSTALL := $(BIN)/python -m pip install -q -c $(CONSTRAINTS) -e '.[dev]'

# Do all files of the installed packages exist?
define WHOLE_SCRIPT
import sys
from importlib.metadata import distributions
def whole(files): return files is not None and all(f.suffix == ".pyc" or f.locate().exists() for f in files)
sys.exit(not all(whole(package.files) for package in distributions()))
endef
export WHOLE_SCRIPT
WHOLE := $(BIN)/python -c "$$WHOLE_SCRIPT"

# One thread per process: several OpenMP threads on shared cores make the tests slower.
export OMP_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-zoo test-lowest check format golden docs gallery zoo-report clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## Insert BAM into resnet101, then search for the largest designs under 8 GFLOPs
	@$(BIN)/bamsearch insert resnet101
	@$(BIN)/bamsearch search --budget-gflops 8 --trials 6 --no-random

test: $(INSTALLED) ## Run the tests, except those over all models
	$(BIN)/pytest -q -n $(JOBS)

test-zoo: $(INSTALLED) ## Run the tests over all torchvision models
	$(BIN)/pytest -q -n $(JOBS) -m zoo

test-lowest: ## Run the tests with the lowest versions that pyproject.toml allows, in .venv-lowest
	@$(PYTHON) tests/packaging/lowest.py > .venv-lowest.txt
	@$(MAKE) test VENV=.venv-lowest CONSTRAINTS=.venv-lowest.txt

check: $(INSTALLED) ## Check style, format, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED) ## Format the code, and apply automatic fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

golden: $(INSTALLED) ## Regenerate the golden files of the tests
	$(BIN)/pytest -q --regenerate

docs: $(INSTALLED) ## Regenerate docs/cli.md from the help of the commands
	@$(BIN)/python docs/make_cli.py

gallery: $(INSTALLED) ## Regenerate the reports in reports/ from their records
	@$(BIN)/python reports/gallery.py

zoo-report: $(INSTALLED) ## Insert BAM into every torchvision model and every timm family; writes reports/zoo/
	@$(BIN)/python reports/zoo/zoo.py

clean: ## Remove the environment and all generated files
	rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp comes last, so the next run completes an interrupted installation. If pip was killed while
# copying a package, it may consider it complete: then the environment is rebuilt.
$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("bamsearch needs Python 3.11: make PYTHON=python3.11")'
	@echo 'Installing into $(VENV): about 6 GB and a few minutes the first time'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP_INSTALL)
	@$(WHOLE) || { echo '$(VENV) is incomplete: rebuilding it'; \
		$(PYTHON) -m venv --clear $(VENV) && $(PIP_INSTALL); }
	@touch $@
