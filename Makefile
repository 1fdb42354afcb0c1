# What one does here. Needs Python 3.11 or newer, git and make; the first target that needs it makes .venv.

PYTHON ?= python3
PYTEST_ARGS ?=
FAULTS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
AGENTS := .agents
PINS := tests/agents/pins

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-wheel test-agents test-tooz lint bench bench-peers faults faults-etcd faults-hosts demo-hosts docs format wheel clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

demo: compiled  ## several agents at work on a real repository, merged at the end
	@PATH="$(abspath $(BIN)):$$PATH" bash scripts/demo.sh

demo-hosts: compiled  ## three hosts (network namespaces, as root): one cut off and back, another one dead, all merged
	@$(BIN)/python -m tests.hostlab.demo

test: compiled  ## the whole suite
	$(BIN)/python -m pytest --numprocesses auto --no-loadscope-reorder $(PYTEST_ARGS)

test-wheel: $(READY)  ## the wheel, built, installed and tried on every Python at hand
	$(BIN)/python scripts/try_wheel.py

test-agents: compiled $(AGENTS)/.ready  ## real agents, pinned and installed into .agents, against a scripted model on loopback
	COORD_TEST_AGENTS=$(abspath $(AGENTS)) $(BIN)/python -m pytest tests/agents/real_agents.py $(PYTEST_ARGS)

test-tooz: compiled  ## the test-suite of the library tooz, driven over ours
	$(BIN)/python scripts/tooz_suite.py

lint: $(READY)  ## style, types, layers, generated pages, changelog fragments
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/requirements_table.py --check
	$(BIN)/python scripts/cli_docs.py --check
	$(BIN)/python scripts/error_docs.py --check
	$(BIN)/towncrier build --draft --version next >/dev/null

bench: compiled  ## goals and figures of this machine
	$(BIN)/python -m benchmarks

bench-peers: compiled  ## five trivial agents, ours beside what others published, into docs/benchmarks.md
	$(BIN)/python -m benchmarks.orchestrators

faults: compiled  ## the full numbers of every fault on this machine, with a table at the end
	$(BIN)/python -m tests.faults $(FAULTS)

faults-etcd: compiled  ## the same on etcd: clusters in network namespaces, as root, about half an hour
	$(BIN)/python -m tests.faults --group etcd $(FAULTS)

faults-hosts: compiled  ## the same of several hosts: whole runs in network namespaces, as root
	$(BIN)/python -m tests.faults --group hosts $(FAULTS)

docs: $(READY)  ## write the generated pages
	$(BIN)/python scripts/requirements_table.py
	$(BIN)/python scripts/cli_docs.py
	$(BIN)/python scripts/error_docs.py

format: $(READY)  ## let ruff repair what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

wheel: $(READY)  ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation
	$(BIN)/check-wheel-contents dist

clean:  ## remove what was built here
	rm -rf $(VENV) .venv-* $(AGENTS) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# setuptools and wheel: a dependency of the tests (forbiddenfruit) has no wheel of its own.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"coordstore needs Python 3.11 or newer, $(PYTHON) is {sys.version.split()[0]}: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt hatchling editables setuptools wheel
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@

$(AGENTS)/.ready: $(PINS)/package.json $(PINS)/requirements.txt
	mkdir -p $(AGENTS)
	cp $(PINS)/package.json $(AGENTS)/
	npm install --prefix $(AGENTS) --no-fund --no-audit --loglevel=error
	$(PYTHON) -m venv --clear $(AGENTS)/python
	$(AGENTS)/python/bin/python -m pip install --quiet --requirement $(PINS)/requirements.txt
	@touch $@

# Where bytecode is not written on import, each of the many processes that are started would compile all of it.
.PHONY: compiled
compiled: $(READY)
	@$(BIN)/python -m compileall -q coordstore backends orchestrator benchmarks tests
