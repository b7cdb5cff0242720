# Two commands on a fresh machine: `make demo` and `make test`. Everything they need is set up in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data/camvid
ANNOTATIONS ?= ../shared/data/annotations
MODEL ?=

.PHONY: setup demo test lint format docs bench table clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("pixelwise needs Python 3.11 or newer, found " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[all,dev,docs]'
	@touch $@

demo: setup
	$(BIN)/pixelwise demo --out demo

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	$(BIN)/mkdocs build --strict --quiet

# Beside the peers, in one run each. DATA is a folder in CamVid's SegNet layout, ANNOTATIONS one of exports;
# MODEL, a bundle trained on DATA, is for int8 and large rasters.
bench: setup
	@test -d $(DATA) || { echo "no CamVid at $(DATA); say where it is: make bench DATA=DIR"; exit 2; }
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python benchmarks/confusion.py
	$(BIN)/python benchmarks/augment.py
	$(BIN)/python benchmarks/border.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/colour_lookup.py
	$(BIN)/python benchmarks/memory.py --data $(DATA)
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/training.py --data $(DATA)
	$(BIN)/python benchmarks/volumes.py
	$(BIN)/python benchmarks/loader.py --data $(DATA)
	$(BIN)/python benchmarks/annotations.py
	$(BIN)/python benchmarks/formats.py --data $(ANNOTATIONS)
	$(BIN)/python benchmarks/average_precision.py
	$(BIN)/python benchmarks/surface.py
	$(BIN)/python benchmarks/crf.py
	$(BIN)/python benchmarks/predict.py --data $(DATA)
	$(if $(MODEL),$(BIN)/python benchmarks/int8.py --data $(DATA) --model $(MODEL))
	$(if $(MODEL),$(BIN)/python benchmarks/large.py --model $(MODEL))
	$(BIN)/python benchmarks/networks.py --data $(DATA) --out runs/networks
	$(BIN)/python benchmarks/networks.py --out runs/networks --report --speed

# The generated table behind `pixelwise models`.
table: setup
	$(BIN)/python -m pixelwise.models.table

clean:
	rm -rf build dist site demo .pytest_cache .mypy_cache .ruff_cache
