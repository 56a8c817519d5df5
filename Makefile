# Two commands for a fresh machine. Each makes its own virtual environment in .venv if none is there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# CUDA's version, 12 or 13: that of the CuPy which is there already, else 12. CUDA=13 on the command line asks for 13.
CUDA = $(shell $(BIN)/python -c 'import importlib.metadata as m; m.version("cupy-cuda13x")' 2>/dev/null \
	&& echo 13 || echo 12)

.PHONY: train test test-cuda13 lint check docs docs-serve coverage fuzz clean

train: $(VENV)/for-training
	$(BIN)/python -m ttfs_cupy.train configs/quickstart.yaml

# A file's tests share what they set up, so each file goes to one process.
test: lint
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

# What depends on CUDA's version, with a cupy-cuda13x that is there before the wheel: in an environment of its own. The
# wheel is what runs: it is not editable, and pytest by itself does not look into the current folder.
test-cuda13: build/cuda13/bin/python
	rm -rf build/lib
	build/cuda13/bin/pip install 'cupy-cuda13x >= 14'
	build/cuda13/bin/pip install '.[cpu,digits,test]'
	build/cuda13/bin/pytest $(addprefix tests/,device/test_cuda_libraries.py device/compilation/test_kernels_cubins.py \
		common/test_checkout.py repository/test_packaging.py check/test_check.py)

# mypy does not read package_dir: it gets the tree as it will be installed.
lint: $(VENV)/for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/typed && mkdir -p build/typed/ttfs_cupy
	ln -s $(CURDIR)/ttfs_cupy/* $(CURDIR)/models $(CURDIR)/data $(CURDIR)/benchmarks build/typed/ttfs_cupy
	MYPYPATH=build/typed $(BIN)/mypy -p ttfs_cupy

check: $(VENV)/for-training
	$(BIN)/python -m ttfs_cupy.check

# The documentation: open build/site/index.html, or see pages as they are written. EXECUTE=true runs the notebooks first,
# a minute or two, for their figures.
docs docs-serve: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/for-docs $(if $(EXECUTE),$(VENV)/for-tests)
	$(BIN)/python -m mkdocs build

docs-serve: $(VENV)/for-docs
	$(BIN)/python -m mkdocs serve

# How often each line of the kernels runs in tests: lines that do not are listed.
coverage: $(VENV)/for-tests
	rm -rf build/coverage
	$(BIN)/python tests/line_coverage.py build/coverage

# Random input for all that takes any, the kernels built with sanitizers. ARGUMENTS='api --seed 1' repeats a run.
SECONDS = 600
fuzz: $(VENV)/for-tests
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(SECONDS) $(ARGUMENTS)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

build/cuda13/bin/python:
	$(PYTHON) -m venv build/cuda13

# The compiler that comes as a wheel (extra cpu) is installed always: make cannot know whether one will be found.
$(VENV)/for-training: setup.cfg | $(BIN)/python
	$(BIN)/pip install -e '.[cuda$(CUDA),cpu,digits,plot,report]'
	touch $@

$(VENV)/for-docs: setup.cfg | $(BIN)/python
	$(BIN)/pip install -e '.[docs]'
	touch $@

$(VENV)/for-tests: setup.cfg | $(BIN)/python
	$(BIN)/pip install -e '.[cuda$(CUDA),cpu,digits,notebook,docs,test]'
	touch $@ $(VENV)/for-training $(VENV)/for-docs

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
