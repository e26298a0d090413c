PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n auto -q

.PHONY: demo docs format lint stress test test-all tutorials type

demo: .venv-demo/.installed
	.venv-demo/bin/ardae-rl demo --out runs/demo

format: .venv/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: .venv/.installed
	$(BIN)/mypy

test: .venv/.installed
	$(PYTEST)

test-all: .venv/.installed
	$(PYTEST) -m "slow or not slow"

# Links to other projects are left out where the internet cannot be reached. ARDAE_RL_OFFLINE=1 spares the attempt.
docs: .venv/.installed
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

# The site with the outputs of the tutorials, which takes some minutes
tutorials: export ARDAE_RL_TUTORIALS = cache
tutorials: docs

# The stamp is written last: an interrupted installation is repeated, a finished one is not.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,dev]"
	touch $@

# What the demo needs, and no more
.venv-demo/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install --quiet -c constraints.txt -e ".[demo]"
	touch $@

# Checks that take too long for the tests; their sizes are options of `python -m stress`
stress: .venv/.installed
	for check in fuzz mutants sb3 soak kills; do $(BIN)/python -m stress $$check || exit 1; done
	$(BIN)/python -m stress.mutation -n 30
	if [ $$(id -u) = 0 ]; then $(BIN)/python -m stress full_disk; else echo "full_disk needs root: skipped"; fi
