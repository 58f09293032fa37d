# make demo: a small study on digits and its report. make test: what a change must pass. Both make their own environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
QUICK := not slow and not slurm and not browser and not gpu
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test check lowest lowest-check slurm-test gpu-check clean

help:
	@echo "make demo        three arms x four seeds on digits, then the report (minutes on two cores)"
	@echo "make test        unit, contract, golden and integration tests"
	@echo "make check       lint and types"
	@echo "make lowest-check  tests of numbers and words with the lowest versions that are allowed"
	@echo "make slurm-test  the tests on a real single-node SLURM (needs its packages; see tests/slurm)"
	@echo "make gpu-check   the tests that need a GPU"

$(BIN)/.installed: pyproject.toml constraints.txt
	@echo "making $(VENV), once: PyTorch and what goes with it are fetched and installed, which takes minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq -c constraints.txt torch
	$(BIN)/python -m pip install -qq -c constraints.txt -e ".[dev,dopri5,efficientnet,tensorboard,vae,rae,parquet,video,worlds]"
	touch $@

demo: $(BIN)/.installed
	$(BIN)/python -m bench.sweep study=demo data=digits workers=2 compute.threads=1
	$(BIN)/python -m bench.report all --runs runs --study demo

test: $(BIN)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=10 -m "$(QUICK)"

check: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# distances, statistics, pictures, words and files: what other versions could get wrong in silence
OF_NUMBERS := $(addprefix tests/unit/,probes evaluation/test_checkpoint_files.py \
	$(patsubst %,config/test_%.py,configuration cli) $(patsubst %,core/test_%.py,pictures compat) \
	$(patsubst %,reports/test_%.py,contrasts fits groups laws tables charts verdicts))
# need transformers, an extra with higher bounds of its own
NOT_LOWEST := $(patsubst %,--ignore=tests/unit/probes/test_%_distance.py,sound video)

# torch and what is built for it stay: their folder stands behind this environment's own.
# pytz: pandas 2 needs it, pandas 3 does not
$(VENV)-lowest/.installed: pyproject.toml tests/support/lowest.py $(BIN)/.installed
	$(BIN)/python -m venv --clear $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install -qq --no-deps --no-compile pytz $$($(BIN)/python tests/support/lowest.py)
	folder='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	$(abspath $(BIN))/python -c "$$folder" > $$($(VENV)-lowest/bin/python -c "$$folder")/behind.pth
	touch $@

lowest: $(VENV)-lowest/.installed

lowest-check: lowest
	$(VENV)-lowest/bin/python tests/support/lowest.py check
	$(VENV)-lowest/bin/python -m pytest -n 2 --dist worksteal --durations=5 -m "$(QUICK)" $(OF_NUMBERS) $(NOT_LOWEST)

slurm-test: $(BIN)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/slurm/cluster/with_slurm.sh $(BIN)/python -m pytest --durations=10 -m slurm tests/slurm

gpu-check: $(BIN)/.installed
	$(BIN)/python -m pytest -m gpu tests/gpu

clean:
	rm -rf $(VENV) $(VENV)-lowest .pytest_cache .ruff_cache
