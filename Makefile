# The whole loop. `make` alone lists it.
#   make demo    from nothing to a real computation, checked and timed beside Dask
#   make test    from nothing to all tests passed
# (PIP sets PATH since maturin, without build isolation, is looked up there.)
# Another interpreter: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
PIP    := PATH="$(abspath $(VENV))/bin:$$PATH" $(PY) -m pip --disable-pip-version-check -q
EMBED  := $(PY) tools/embedded.py
# A free-threaded interpreter for `make test-free-threaded`, if there is one.
FREE_THREADED ?= $(firstword $(foreach p,python3.14t python3.13t,$(shell $(p) -c 'print("$(p)")' 2>/dev/null)))

.DEFAULT_GOAL := help
.PHONY: help venv build wheel demo test test-core test-embedded test-python test-free-threaded lint format docs bench compat compat-quick clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.x"; exit 1; }
	@command -v cargo >/dev/null || { echo "Rust is needed: https://rustup.rs"; exit 1; }
	@echo "Making a virtual environment in $(VENV)."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install 'maturin>=1.9,<2'

# Everything that work on the project needs, and the engine itself.
$(VENV)/.ready: pyproject.toml tests_py/requirements.txt | $(PY)
	$(PIP) install --no-build-isolation -e '.[lint,docs]' -r tests_py/requirements.txt
	@touch $@

venv: $(VENV)/.ready ## a virtual environment with everything in it

build: $(VENV)/.ready ## build the engine in release mode, into the virtual environment
	$(PIP) install --no-build-isolation --no-deps -e .

wheel: | $(PY) ## build a wheel into dist/
	$(PY) -m maturin build --release --interpreter $(PY) --out dist

demo: | $(PY) ## install the wheel and take the tour
	@echo "Building the engine and installing it with Dask and xarray; the first time takes some minutes."
	@$(PIP) install --no-build-isolation '.[demo]'
	@$(PY) examples/tour.py

test: test-core test-embedded lint docs test-python test-free-threaded ## all tests and checks

test-core: ## Rust tests of the core, no Python built in
	cargo test -q --no-default-features

test-embedded: $(VENV)/.ready ## Rust tests with an embedded interpreter
	$(EMBED) cargo test -q

test-python: build ## Python tests
	$(PY) -m pytest -q tests_py

test-free-threaded: ## Python tests without a GIL, where such an interpreter is found
ifeq ($(FREE_THREADED),)
	@echo "skipped: no free-threaded interpreter (python3.14t, python3.13t) found; FREE_THREADED=... names one"
else
	$(FREE_THREADED) -m venv $(VENV)-free-threaded
	$(VENV)-free-threaded/bin/python -m pip -q install '.[dask]' pytest pytest-timeout numpy psutil
	$(VENV)-free-threaded/bin/python -c 'import mars.contrib.dask, sys; assert not sys._is_gil_enabled()'
	$(VENV)-free-threaded/bin/python -m pytest -q tests_py
endif

lint: build ## rustfmt, clippy, ruff, mypy, stubtest
	cargo fmt --check
	cargo clippy -q --all-targets --no-default-features -- -D warnings
	$(EMBED) cargo clippy -q --all-targets -- -D warnings
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	MYPYPATH=python:benchmarks:examples $(PY) -m mypy python examples/tour.py benchmarks/run.py benchmarks/children.py
	MYPYPATH=python $(PY) -m mypy.stubtest --mypy-config-file pyproject.toml mars._mars

format: $(VENV)/.ready ## format all code
	cargo fmt
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: $(VENV)/.ready ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build -q --strict

bench: build ## all benchmarks, kept in benchmarks/RESULTS.md (about an hour on a quiet machine)
	$(PIP) install 'dask[complete]>=2026.8' 'xarray>=2025.1' 'zarr>=3' 'scikit-learn>=1.6'
	$(PY) benchmarks/run.py --write

compat: build ## Dask's own test suites on the scheduler, beside the stock baseline
	$(PIP) install -r tests_py/compat/requirements.txt
	$(PY) tests_py/compat/run.py

compat-quick: build ## a representative part of them, under ten minutes
	$(PIP) install -r tests_py/compat/requirements.txt
	$(PY) tests_py/compat/run.py --quick

clean: ## remove everything that was built
	cargo clean -q
	rm -rf $(VENV) $(VENV)-free-threaded dist site compat-out
