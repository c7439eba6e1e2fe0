# Every command of developers and CI. Needs Python 3.11 or newer and make, nothing else.

.DEFAULT_GOAL := help
.PHONY: help clients test/clients examples run abuse audit test browser screenshots chaos redis-matrix bench bench/peers crash polls check fmt docs clean python

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Processes that run tests. Those mostly wait for other processes: three keep two cores busy.
TESTERS ?= 3

# The packages are installed. Python must not import others from the current folder.
export PYTHONSAFEPATH := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start hundreds of processes: each would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

# Prints the Python to use, preferably python3 itself. The import of ensurepip tests whether this
# Python can make a venv, which Debian's bare python3 cannot.
define FIND_PYTHON
for fits in '(3, 11) <= v <= (3, 13)' '(3, 11) <= v'; do \
	for name in python3 python3.13 python3.12 python3.11; do \
		if "$$name" -c "import ensurepip, sys; v = sys.version_info[:2]; sys.exit(not $$fits)" \
			>/dev/null 2>&1; then echo "$$name"; exit 0; fi; \
	done; \
done; \
echo "no Python 3.11 or newer with venv found: install python3 (on Debian also python3-venv)" >&2; \
exit 1
endef

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z\/-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run  ## Start everything on this machine with a demo; ARGS="--help" lists options
	@$(BIN)/knouds-worker up --demo $(ARGS)

test: $(VENV)/.dev $(VENV)/.npm  ## Run the tests; ARGS="-k words" selects some
	@$(BIN)/pytest -n $(TESTERS) --dist worksteal --ignore tests/browser $(ARGS)

browser: $(VENV)/.dev  ## Test the dashboard in Chromium, which must be installed
	@$(BIN)/pytest -p no:xdist tests/browser $(ARGS)

screenshots: $(VENV)/.dev  ## Take new screenshots of the dashboard for docs/screenshots
	@$(BIN)/python -m tests.browser.screenshots

chaos: $(VENV)/.dev  ## Test with killed, frozen and restarted processes, slow; CHAOS_SEED=7 repeats one run
	@CHAOS=full $(BIN)/pytest -p no:xdist tests/chaos $(ARGS)

abuse: $(VENV)/.dev  ## Attack a real API and print what it does, 5 minutes; ARGS="--before CHECKOUT" compares
	@$(BIN)/python -m tests.abuse $(ARGS)

redis-matrix: $(VENV)/.dev  ## Try every Redis server with every failure; ARGS="--quick" for one server, in minutes
	@$(BIN)/python -m tests.redis_matrix $(ARGS)

bench: $(VENV)/.dev  ## Measure the worker, about 15 minutes; ARGS="load idle" selects some
	@$(BIN)/python -m bench $(ARGS)

bench/peers: $(VENV)/.dev  ## Compare with arq, SAQ, taskiq and a bare loop; ARGS="--runs 10000"
	@$(BIN)/python -m bench.peers $(ARGS)

crash: $(VENV)/.dev  ## Measure crashes, compared with a plain arq worker
	@$(BIN)/python -m bench.crash

polls: $(VENV)/.dev  ## Compare the poll plan with the optimum, in virtual time
	@$(BIN)/python -m bench.polling

check: $(VENV)/.dev  ## Check format, lint, types and architecture, as CI does
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

audit: $(VENV)/.dev  ## Look up known vulnerabilities of the pinned versions, if their data base can be reached
	@$(BIN)/python -m tools.pin_audit

fmt: $(VENV)/.dev  ## Format, and fix what ruff can fix
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(VENV)/.dev  ## Write the docs pages that are generated from the code
	@$(BIN)/python -c 'from tools.docs.error_table_page import render; print(render(), end="")' > docs/.new
	@mv docs/.new docs/error-table.md
	@$(BIN)/python -c 'from tools.docs.settings_page import render; print(render(), end="")' > docs/.new
	@mv docs/.new docs/settings.md
	@$(BIN)/python -c 'from tools.docs.lifecycle_page import render; print(render(), end="")' > docs/.new
	@mv docs/.new docs/lifecycle.md

clients: $(VENV)/.dev $(VENV)/.npm  ## Write the generated parts of the clients from the OpenAPI document
	@$(BIN)/python -m tools.clients

test/clients: $(VENV)/.dev $(VENV)/.npm  ## Test the clients on the lowest and newest Python and Node that are found
	@CLIENTS=full $(BIN)/pytest -p no:xdist tests/clients $(ARGS)

examples: $(VENV)/.dev  ## Record the examples of the OpenAPI document from calls of the real program
	@$(BIN)/python -m tools.api_examples

clean:  ## Remove the venv and caches; keeps the jobs in .state
	rm -rf $(VENV) clients/typescript/node_modules clients/typescript/dist .bench dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

python:  ## Print which Python the venv is made with
	@$(FIND_PYTHON)

$(VENV)/.made:
	@python=$$($(FIND_PYTHON)) && "$$python" -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing into $(VENV) …"
	@$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing into $(VENV), with development tools …"
	@$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.run $@

# What the TypeScript client is developed with. Without it, its tests are skipped.
$(VENV)/.npm: $(VENV)/.dev clients/typescript/package-lock.json
	@$(BIN)/python -m tools.clients.node && touch $@ || echo "npm failed: the tests of the TypeScript client are skipped"
