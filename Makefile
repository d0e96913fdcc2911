# `make demo` makes the character of a picture move; `make test` sets up and passes every test.
.DEFAULT_GOAL := help
.PHONY: help demo up fbx test lint fmt protos baseline docs pictures bench chaos quality licences clean setup setup-fbx setup-dev
MAKEFLAGS += --no-print-directory

MAQUETTE := .venv/bin/maquette
PYTHON := .venv/bin/python
IMAGE ?=
PORT ?=
BIND ?=
DATA ?=
TESTS ?=

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

demo: setup-fbx ## Make the character of a sample picture, or of IMAGE=photo.jpg, move: out/
	@$(MAQUETTE) demo $(if $(PORT),--port $(PORT)) $(if $(DATA),--data "$(DATA)") $(if $(IMAGE),"$(IMAGE)")

up: setup ## Run the mesh on http://localhost:7842 until Ctrl-C (PORT= BIND= DATA=)
	@exec $(MAQUETTE) up $(if $(PORT),--port $(PORT)) $(if $(BIND),--bind $(BIND)) $(if $(DATA),--data "$(DATA)")

fbx: ## Install Blender as a Python module, about 1 GB: FBX in and out
	@workers/blender/setup.sh

test: lint ## Set up, lint and run every test (TESTS=tests/unit for some)
	@$(PYTHON) -m pytest $(TESTS)

lint: setup-dev ## Check style, types, arrows between packages and contracts
	@scripts/lint.sh

fmt: setup-dev ## Format the sources
	@$(PYTHON) -m ruff check --quiet --fix-only .
	@$(PYTHON) -m ruff format --quiet .

protos: setup-dev ## Generate maquette/api from protos/
	@$(PYTHON) scripts/protos.py

baseline: setup-dev ## Make today's protos what later ones may not break
	@node_modules/.bin/buf build protos --exclude-source-info --output protos/baseline.binpb

bench: setup-dev ## Measure speed against peers and limits of this machine
	@$(PYTHON) -m bench

chaos: setup-dev ## Kill and pause things for longer than `make test` does
	@MAQUETTE_CHAOS_SCALE=4 MAQUETTE_CHAOS_FIGURES=quality/chaos.json $(PYTHON) -m pytest tests/chaos
	@$(PYTHON) tests/chaos/radosgw.py $(PYTHON) -m pytest tests/contract/storage tests/e2e/test_bucket.py -k real || [ $$? -eq 77 ]

quality: setup-dev ## Measure the quality of what the engines make
	@$(PYTHON) -m quality

docs: setup-dev ## Write the parts of docs/ that come from the code
	@PYTHONPATH=. $(PYTHON) scripts/docs.py

pictures: setup-dev ## Draw docs/images from the samples
	@PYTHONPATH=. $(PYTHON) scripts/pictures.py
	@PYTHONPATH=. $(PYTHON) scripts/rig_pictures.py
	@PYTHONPATH=. $(PYTHON) scripts/motion_pictures.py

licences: setup ## Write docs/third-party-licences.md from what is installed
	@$(PYTHON) scripts/licences.py

clean: ## Remove what was built; models in out/ and the data folder stay
	@rm -rf .venv workers/blender/.venv node_modules build *.egg-info .*_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@scripts/setup.sh run

# What the demo likes to have and can do without.
setup-fbx: setup
	@$(MAQUETTE) fbx --optional

setup-dev:
	@scripts/setup.sh dev
