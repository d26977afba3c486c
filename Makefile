PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder
TORCH ?= torch==2.14.1 torchvision==0.29.1

.PHONY: demo test test-quick test-deployment test-outages bench results docs site sbom lint format clean

demo: $(READY) ## the main job, six sites, on the bundled phantom
	$(BIN)/flap-sam simulate jobs/flap_sam_kits --work work --sites 6

test: $(READY) ## all tests, real federations among them, in two processes
	$(PYTEST)

test-quick: $(READY) ## the tests that take seconds
	$(PYTEST) -m "not slow"

test-deployment: $(READY) ## real kits on this machine: submission and attacks
	$(BIN)/python -m pytest tests/deployment --ignore tests/deployment/test_outages.py

test-outages: $(READY) ## real kits on this machine: cables, hospitals and a server that go down and come back
	$(BIN)/python -m pytest tests/deployment/test_outages.py

bench: $(READY) ## short forms of the benchmarks, each beside its baseline
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/memory.py --repeat 1
	$(BIN)/python benchmarks/inference.py --slices 5 --repeat 1
	$(BIN)/python benchmarks/round.py --sites 2 --rounds 2 --image-size 32
	$(BIN)/python benchmarks/aggregation.py --sites 6 --repeat 2
	$(BIN)/python benchmarks/data.py --turns 2

results: $(READY) ## the paper's comparison in small: hours; goes on where it was stopped
	$(BIN)/flap-sam compare --preset small --page docs/explanation/results.md

docs: $(READY) ## the reference pages and the README's picture, which are made from the code
	$(BIN)/python docs/scripts/reference.py
	$(BIN)/python docs/scripts/picture.py

site: $(READY) ## the documentation as a website, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

sbom: $(READY) ## every package of the environment, with its version, as CycloneDX
	$(BIN)/cyclonedx-py environment --output-reproducible -o sbom.cdx.json $(BIN)/python

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) work/flap_sam_kits site

$(READY): requirements-core.txt requirements-dev.txt pyproject.toml custom/flap_sam/__init__.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt -e ".[all]"
	touch $(READY)
