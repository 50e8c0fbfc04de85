# `make demo` and `make test` need Python 3.11 or newer, git and make, and ask nothing. They write
# to .venv/ and build/ only. README.md has the same steps for Windows.

PYTHON ?= python3
BIN := .venv/bin
PROJECT := {{ cookiecutter.project_slug }}
UV := $(BIN)/uv
# Compile once, at installation: else each of the many processes that tests start may have to.
INSTALL := $(UV) pip install --compile-bytecode --quiet --python
# Tests wait for servers much of the time, so a few at once gain on two processors, too.
PROCESSES ?= 3
TEMPLATE_TESTS := $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist worksteal
# They share no more than the server of their process, so whoever is idle takes the next one.
PROJECT_TESTS := $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist worksteal \
	"$(CURDIR)/tests/project" --confcutdir "$(CURDIR)/tests/project"
QUICK := -m "not slow and not torture"
SLOW := -m "slow and not torture"

# So that `uv run main.py` finds the uv of this folder, and takes this Python.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export UV_PYTHON := $(CURDIR)/$(BIN)/python
export UV_PYTHON_DOWNLOADS := never
# Where it is set, each of the processes that tests start compiles the project's modules once more.
unexport PYTHONDONTWRITEBYTECODE
# Caches in the template's folder would get into the projects that are generated from it.
export RUFF_CACHE_DIR := $(CURDIR)/build/cache/ruff
export MYPY_CACHE_DIR := $(CURDIR)/build/cache/mypy
export MPLCONFIGDIR := $(CURDIR)/build/cache/matplotlib

.PHONY: demo test test-all torture bench bench-quick upgrade pictures clean

## Generate the default project into build/, and run it.
demo: .venv/generate.stamp build/cookiecutter.yaml
	$(BIN)/python tests/template_copy.py build/template
	$(BIN)/cookiecutter build/template --no-input --overwrite-if-exists --output-dir build \
		--config-file build/cookiecutter.yaml
	cd build/iris-project && uv run main.py

## Run what takes minutes: each row of the article, each command, both languages, faults of each kind.
test: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd "$(PROJECT)" && ../$(BIN)/python -m mypy ../tests/project
	$(TEMPLATE_TESTS) $(QUICK)
	$(PROJECT_TESTS) $(QUICK)

## Run all others, besides `make torture`: buckets, clusters, a team's server, a browser, all lessons.
test-all: .venv/test.stamp
	$(TEMPLATE_TESTS) $(SLOW)
	$(PROJECT_TESTS) $(SLOW)
	$(BIN)/python benchmarks/bench.py quick

## Compare speed, memory and size with the peers'; write benchmarks/results.md.
bench: .venv/test.stamp
	$(BIN)/python benchmarks/bench.py

## Check once that the pipelines of the benchmark agree, and that a changed byte is noticed.
bench-quick: .venv/test.stamp
	$(BIN)/python benchmarks/bench.py quick

## Run what takes too long for `make test-all`: the same attacks, many times over.
torture: .venv/test.stamp
	$(BIN)/python -m pytest -m torture

## Take the newest packages, beyond the bounds where there are newer ones, and try them.
upgrade: .venv/test.stamp
	$(BIN)/python tests/upgrade.py
	$(MAKE) demo test test-all

## Retake the pictures of the documentation, in Chromium.
pictures: .venv/test.stamp
	$(BIN)/python -m pytest tests/test_dashboard.py --pictures

clean:
	rm -rf .venv build

.venv/uv.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed. Name it: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv \
		|| { echo "uv, which installs everything else, could not be installed." >&2; exit 1; }
	@touch $@

.venv/generate.stamp: .venv/uv.stamp pyproject.toml
	$(INSTALL) $(BIN)/python --group generate
	@touch $@

.venv/test.stamp: .venv/uv.stamp pyproject.toml {{\ cookiecutter.project_slug\ }}/requirements.txt
	$(INSTALL) $(BIN)/python --group test --requirement "$(PROJECT)/requirements.txt"
	@touch $@

# Cookiecutter keeps its replay files in the home folder, unless it is told otherwise.
build/cookiecutter.yaml:
	@mkdir -p build
	@printf 'replay_dir: build/replay\ncookiecutters_dir: build/templates\n' > $@
