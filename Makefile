# Everything a person does in this tree; `make` alone lists it.
#
# All of it runs in .venv, which holds exactly what the locks say. Empty stamp files remember
# what was installed, so that a second run starts at once and a changed lock is noticed.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:  # pip must not write to one environment twice at once
.SHELLFLAGS := -euc
SHELL := /bin/sh

PYTHON ?= python3
VENV := .venv
IN_VENV := $(VENV)/bin/python
PIP := $(IN_VENV) -m pip --disable-pip-version-check -qq
NPM := npm --no-audit --no-fund --no-update-notifier --ignore-scripts --loglevel=error
NODE_MODULES := tests/node/node_modules

# The interop test reads our streams with the EventSource client for Node.js.
ifneq ($(shell command -v node && command -v npm),)
INTEROP := $(NODE_MODULES)/.installed
else
INTEROP := no-node
endif

.PHONY: help
help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- using it ---------------------------------------------------------------------------

.PHONY: run
run: $(VENV)/.package ## Start the server with a live demo feed (ARGS='--port 9000')
	@exec $(VENV)/bin/sseserver demo $(ARGS)

# ---- checking it ------------------------------------------------------------------------

# Of the core without I/O nearly every branch is taken by its own tests; the rest is a mistake.
CORE := clock delivery errors event_id events hub ingest metrics state wire
CORE_COVERAGE := $(if $(ARGS),,$(CORE:%=--cov=sseserver.%) --cov-report=term --cov-fail-under=95)

.PHONY: test
test: lint $(VENV)/.package $(INTEROP) ## Check everything: lint, then the whole test suite (ARGS='-k resume')
	@$(IN_VENV) -m pytest tests/test_layout.py tests/test_security_page.py tests/unit tests/properties $(CORE_COVERAGE) $(ARGS)
	@$(IN_VENV) -m pytest tests/integration tests/faults $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## Check style, types and imports
	@$(IN_VENV) -m ruff check
	@$(IN_VENV) -m ruff format --check
	@$(IN_VENV) -m mypy
	@$(VENV)/bin/lint-imports --no-logo

.PHONY: coverage
coverage: $(VENV)/.dev $(VENV)/.package $(INTEROP) ## Run the test suite and show the branches it missed
	@$(IN_VENV) -m pytest --cov $(ARGS)

.PHONY: bench
bench: $(VENV)/.dev $(VENV)/.package ## Measure what the README claims, beside other servers (ARGS='--quick')
	@$(IN_VENV) -m bench.report $(ARGS)

.PHONY: soak
soak: $(VENV)/.dev $(VENV)/.package ## Count facts while everything fails that can (MINUTES=30)
	@$(IN_VENV) -m tests.soak --minutes $(or $(MINUTES),30) $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.dev $(VENV)/.package ## Send every surface what nobody thought of (MINUTES=10 each)
	@SSESERVER_FUZZ_MINUTES=$(or $(MINUTES),10) $(IN_VENV) -m pytest tests/faults/test_fuzz_*.py $(ARGS)

.PHONY: profile
profile: $(VENV)/.dev $(VENV)/.package ## Show where the server's time goes (SCENARIO=fan_out)
	@$(IN_VENV) -m bench.profile $(SCENARIO) $(ARGS)

# ---- setting it up ----------------------------------------------------------------------

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)

# Made anew: an environment copied from another folder (its scripts would start the code over
# there), and one whose Python has gone or changed.
ifneq ($(shell grep -qs " $(CURDIR)/$(VENV)$$" $(VENV)/pyvenv.cfg && \
    $(IN_VENV) -c 'import importlib.util as u; print(bool(u.find_spec("pip")))' 2>/dev/null),True)
.PHONY: $(VENV)/pyvenv.cfg
endif

$(VENV)/.runtime: requirements.lock $(VENV)/pyvenv.cfg
	@echo "Installing what requirements.lock names"
	@$(PIP) install --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "Installing what requirements-dev.lock names"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.package: pyproject.toml $(VENV)/.runtime
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(NODE_MODULES)/.installed: tests/node/package.json tests/node/package-lock.json
	@echo "Installing what tests/node/package-lock.json names"
	@cd tests/node && $(NPM) ci >/dev/null
	@touch $@

.PHONY: no-node
no-node:
	@if [ "$${CI:-}" = true ]; then echo "CI needs node and npm" >&2; exit 1; fi
	@echo "node or npm is missing: the test with the EventSource client for Node.js is skipped"

# ---- keeping it up to date --------------------------------------------------------------

# Where packages come from is the machine's affair: no lock names an address.
PIP_COMPILE := CUSTOM_COMPILE_COMMAND='make lock' $(IN_VENV) -m piptools compile --quiet \
    --generate-hashes --allow-unsafe --strip-extras --build-deps-for=editable \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
    $(if $(UPGRADE),--upgrade)

.PHONY: lock
lock: $(VENV)/.dev ## Write the locks anew (UPGRADE=1 takes the newest versions)
	@$(IN_VENV) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	    echo "The locks are made with Python 3.11, the oldest that must work" >&2; exit 1; }
	@$(PIP_COMPILE) --output-file=requirements.lock pyproject.toml
	@$(PIP_COMPILE) --extra=dev --constraint=requirements.lock \
	    --output-file=requirements-dev.lock pyproject.toml
	@cd tests/node && $(NPM) $(if $(UPGRADE),update,install) \
	    --package-lock-only --omit-lockfile-registry-resolved >/dev/null
	@$(IN_VENV) -m bench.peers --lock $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean: ## Remove everything that was installed, built or cached
	@rm -rf $(VENV) $(NODE_MODULES) build dist *.egg-info .coverage* htmlcov \
	    bench/build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
