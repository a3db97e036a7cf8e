# Slipway's commands. A fresh machine needs Python 3.11 or newer, pip and make.
#
# PYTHON       the interpreter of the environment
# VENV         where the environment is
# CONSTRAINTS  the versions to install; empty for the newest that pyproject.toml allows
# TORCH_INDEX  the index that torch comes from; empty for pip's own. On Linux, that one has the CUDA build (gigabytes);
#              the CPU build is at https://download.pytorch.org/whl/cpu
# FUZZ_SECONDS how long `make fuzz` runs each target; FUZZ_TARGET names one of them
# TEST_JOBS    how many test files run at the same time; most tests wait for a server they started
PYTHON      ?= $(shell for each in python3.11 python3.12 python3.13; do \
                 $$each -c '' 2>/dev/null && echo $$each && exit; done; echo python3)
VENV        ?= .venv
CONSTRAINTS ?= constraints.txt
TORCH_INDEX ?=
TEST_JOBS   ?= 2
FUZZ_SECONDS ?= 300
FUZZ_TARGET ?=
BIN         := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS))

.PHONY: help install demo format lint test fuzz bench bench-gpu capabilities install-check docs

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) $(addprefix --index-url ,$(TORCH_INDEX)) torch
	$(PIP_INSTALL) -e '.[dev]'
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
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile

fuzz: install ## run every reader of foreign bytes on changed inputs, and keep those that break one
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(addprefix --target ,$(FUZZ_TARGET))

# The base package as a user installs it, on each Python that pyproject.toml names; needs no environment.
install-check: ## install the base package on each supported Python, as a user does
	$(PYTHON) tests/install_check.py

bench: install ## measure, judge the results against the targets, save them
	$(BIN)/python -m benchmarks

bench-gpu: install ## the same for an NVIDIA GPU
	$(BIN)/python -m benchmarks generation-gpu

docs: install ## write the generated pages of docs/ from the tables of the code, and the site to build/site
	$(BIN)/python -m slipway.cli.triton_page docs/triton.md
	$(BIN)/python -m slipway.cli.flags_page docs/flags.md
	$(BIN)/python -m slipway.cli.decoding_page docs/decoding.md
	$(BIN)/python -m slipway.cli.families_page docs/families.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

capabilities: install ## list which capabilities the tests cover
	$(BIN)/python -m tests.capabilities
