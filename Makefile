# `make` or `make help` lists what there is. Every target sets up what it needs (scripts/setup.sh); PYTHON=python3.12
# chooses the Python that .venv is made with.

BIN := .venv/bin
DEMO_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=

.PHONY: help demo test lint types bench coverage clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: ## hold a spoken conversation, and write it to demo-output/ (DEMO_ARGS)
	@scripts/setup.sh demo
	@$(BIN)/voxrx demo --output demo-output $(DEMO_ARGS)

test: ## run the tests (PYTEST_ARGS="-k store -x")
	@scripts/setup.sh test
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: ## check style, and who imports whom
	@scripts/setup.sh test
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-cache

types: ## check types
	@scripts/setup.sh test
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/mypy

bench: ## measure the speed (BENCH_ARGS=--quick)
	@scripts/setup.sh test
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

coverage: ## run the tests, and list the lines that they do not reach
	@scripts/setup.sh test
	@$(BIN)/python -m coverage run -m pytest -q $(PYTEST_ARGS)
	@$(BIN)/python -m coverage report

clean: ## remove what the other targets made
	@rm -rf .venv demo-output build dist voxrx.egg-info .coverage .mypy_cache .ruff_cache .hypothesis
