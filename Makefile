# `make` alone lists the targets. All of them work in .venv, which `make install` makes.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# where Debian keeps nginx, out of sight of ordinary users
export PATH := $(PATH):/usr/sbin

BIN := .venv/bin
READY := .venv/.installed
READY_DEV := .venv/.installed-dev

# An environment made in another folder holds that folder's paths: make it again after a move.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

.PHONY: help install serve demo env test check fix bench docs lock clean

help: ## List the targets
	@echo "usage: make TARGET [PYTHON=python3.13] [ARGS='-k name']"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(READY) ## Make .venv with the proxy in it; PYTHON chooses the interpreter

$(READY): requirements.txt requirements-build.txt pyproject.toml scripts/install
	@PYTHON="$(PYTHON)" scripts/install
	@printf '%s\n' "$(CURDIR)" > $@

$(READY_DEV): $(READY) requirements-dev.txt
	@echo "installing the tools for tests and checks"
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	@touch $@

serve: $(READY) ## Run the proxy; it says what to paste into Open WebUI
	@$(BIN)/nanogpt-proxy serve

demo: $(READY_DEV) ## Run the proxy on a stand-in NanoGPT, with two users and a curl line to try
	@$(BIN)/python -m standin.demo

env: ## Write .env with fresh secrets for the proxy, compose and Open WebUI
	@scripts/env

test: ## Run all tests; ARGS go to pytest, TEST_WITHOUT=nginx leaves a group out
	@scripts/needs --quiet venv
	@$(MAKE) --silent $(READY_DEV)
	@scripts/test $(ARGS)

check: $(READY_DEV) ## Check style, types and the layers of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

fix: $(READY_DEV) ## Mend the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY_DEV) ## Measure the proxy against nginx; ARGS go to bench/run
	@scripts/needs nginx wrk openssl
	@$(BIN)/python bench/run $(ARGS)

docs: $(READY_DEV) ## Write the tables of docs/ and .env.example again
	@$(BIN)/python -m scripts.docs

lock: ## Lock the requirements again; ARGS=--upgrade takes newer versions
	@PYTHON="$(PYTHON)" scripts/lock $(ARGS)

clean: ## Remove .venv and what tools left; data/ and .env stay
	rm -rf .venv build dist htmlcov .coverage .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache
	find src tests standin bench scripts -name __pycache__ -prune -exec rm -rf {} +
