# One verb, one command; the same by hand and in CI.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help install train serve test check bench soak clean

help: ## list these verbs
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

install: $(INSTALLED) ## install the project and its tools into .venv, from the exact pins in constraints.txt

$(INSTALLED): constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,plots,signing]'
	@touch $@

train: $(INSTALLED) ## fit the thermometer, and publish it as a new version in artifacts/
	$(BIN)/python -m training fit

serve: $(INSTALLED) ## serve artifacts/ on port 8000 (PORT=... moves it), training the thermometer if there is no model
	@ls artifacts/*/*/manifest.json >/dev/null 2>&1 || $(BIN)/python -m training fit
	$(BIN)/python -m service serve --host $(HOST) --port $(PORT)

test: $(INSTALLED) ## run the tests, and measure their coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses 2 --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: $(INSTALLED) ## lint, format, strict types, the Dockerfile
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

bench: $(INSTALLED) ## measure the service against a bare server (PEERS=1: and its peers; QUICK=1: a minute)
	$(BIN)/python -m benchmarks $(if $(PEERS),--peers) $(if $(QUICK),--quick) --json bench.json --picture bench.png

soak: $(INSTALLED) ## cases of trouble against real processes, in six minutes (MINUTES=30: more of everything)
	PYTHONPATH=tests $(BIN)/python -m soak --minutes $(or $(MINUTES),1)

clean: ## remove .venv and what tools left; models stay
	rm -rf $(VENV) .venv-triton-client build *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
