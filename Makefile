# Kerwen. `make run` and `make test` need Python 3.11 or later and make, nothing else.

# the first Python that is new enough; only used to make .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; \
	done; echo python3)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
WORKERS ?= 2
PEERS ?= synapse
SUITE_SECONDS := 840

.PHONY: help run test calls long setup check web shots bench lock clean

help:  ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

run: ## set up and run a development server with two people in it
	@$(PYTHON) tools/setup.py run
	@$(BIN)/python tools/build_web.py || echo "web: going on without it" >&2
	@$(BIN)/python tools/run_dev.py $(FLAGS)

test: setup ## set up and run every test but the long ones
	@$(BIN)/python tools/prepare_tests.py
	@$(BIN)/python tools/build_web.py
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope \
		--session-timeout=$(SUITE_SECONDS) $(TESTS)

calls: setup ## run the long tests of calls: Element Call, layers, broken lines, all ways of TURN
	@KERWEN_CALLS=1 $(BIN)/python tools/prepare_tests.py
	@$(BIN)/python tools/build_web.py
	@KERWEN_CALLS=1 $(BIN)/python -m pytest -q tests/calls tests/web/test_calls.py

long: setup ## run what takes long: cost that does not grow, hundreds of kills
	@KERWEN_LONG=1 $(BIN)/python -m pytest -q tests/proofs/test_growth.py tests/proofs/test_kill.py

setup: ## make .venv with everything for work on Kerwen
	@$(PYTHON) tools/setup.py all

check: setup ## format, lint, types, ranks, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/docs

web: ## build the web app into kerwen/web_dist
	@$(PYTHON) tools/setup.py run
	@$(BIN)/python tools/build_web.py

shots: setup web ## photograph every main view of the web app into web/shots
	@cd web && node tools/shots.js $(FLAGS)

bench: setup ## measure this machine
	@$(BIN)/python -m bench --peers $(PEERS) $(FLAGS)

lock: ## write requirements/*.txt anew from pyproject.toml
	@$(BIN)/python tools/lock.py

clean: ## remove what was made, but no data
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
