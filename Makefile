# Slipway's commands. A fresh machine needs Python 3.11 or newer, pip and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: help install demo format lint test bench bench-gpu capabilities

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

install: $(VENV)/.installed ## create the virtual environment .venv with everything

demo: install ## convert, serve and query a small model
	$(BIN)/python examples/demo.py

format: install ## fix what ruff can fix, and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: install ## run ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## run lint, then every test
	$(BIN)/python -m pytest

bench: install ## measure, judge the results against the targets, save them
	$(BIN)/python -m benchmarks

bench-gpu: install ## the same for an NVIDIA GPU
	$(BIN)/python -m benchmarks generation-gpu

capabilities: install ## list which capabilities the tests cover
	$(BIN)/python -m tests.capabilities
