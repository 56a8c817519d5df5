# Two commands for a fresh machine. Each makes its own virtual environment in .venv if none is there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: train test lint check coverage clean

train: $(VENV)/for-training
	$(BIN)/python -m ttfs_cupy.train configs/quickstart.yaml

test: lint
	$(BIN)/python -m pytest

# mypy does not read package_dir: it gets the tree as it will be installed.
lint: $(VENV)/for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/typed && mkdir -p build/typed/ttfs_cupy
	ln -s $(CURDIR)/ttfs_cupy/* $(CURDIR)/models $(CURDIR)/data $(CURDIR)/benchmarks build/typed/ttfs_cupy
	MYPYPATH=build/typed $(BIN)/mypy -p ttfs_cupy

check: $(VENV)/for-training
	$(BIN)/python -m ttfs_cupy.check

# How often each line of the kernels runs in tests: lines that do not are listed.
coverage: $(VENV)/for-tests
	rm -rf build/coverage
	$(BIN)/python tests/line_coverage.py build/coverage

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The compiler that comes as a wheel (extra cpu) is installed always: make cannot know whether one will be found.
$(VENV)/for-training: setup.cfg | $(BIN)/python
	$(BIN)/pip install -e '.[cpu,digits]'
	touch $@

$(VENV)/for-tests: setup.cfg | $(BIN)/python
	$(BIN)/pip install -e '.[cpu,digits,notebook,test]'
	touch $@ $(VENV)/for-training

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
