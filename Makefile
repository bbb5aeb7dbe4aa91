# One environment for everything; each target says what it does while it does it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test paper docs compat lint format clean

demo: $(READY)  ## one parameter-free run against a grid of learning rates, on real data
	$(BIN)/python -m experiments demo

test: $(READY) lint  ## everything that CI runs
	@echo "== tests (hundreds of small programs: XLA compiles them faster where it optimises nothing, and a file shares them)"
	XLA_FLAGS="--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0" $(BIN)/python -m pytest -n auto --dist loadfile --durations 15

paper: $(READY)  ## every claim of the paper that numbers can check; rewrites paper_repro/README.md
	@echo "== claims of the paper (ten minutes on two idle cores)"
	$(BIN)/python -m paper_repro

docs: $(READY)  ## the documentation site, in build/site
	@echo "== documentation (links are checked; look at it with .venv/bin/python -m http.server -d build/site)"
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

compat: $(READY)  ## the oldest and the newest versions of everything, on every Python at hand; rewrites docs/compat.md
	@echo "== versions (gigabytes of downloads, ten minutes for each environment)"
	$(BIN)/python -m experiments study compat

lint: $(READY)
	@echo "== lint, format and types"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml constraints.txt
	@echo "== making .venv with the versions of constraints.txt (once; some minutes)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[torch,optax,bench,dev,docs,examples]'
	@touch $(READY)

clean:
	rm -rf .venv
