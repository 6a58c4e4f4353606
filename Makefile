# Every command of this project; `make` alone lists them. Needs Python 3.11 or newer with pip.
# uv is used where it is on PATH. Nothing is installed outside .venv and build.

PYTHON ?= python3
PHOTOS ?= build/photos
FACES ?= build/photos
WORKERS ?= auto
MUTANTS ?= *

VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
ifdef UV
  INSTALL = uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
else
  INSTALL = $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --constraint constraints.txt
endif

# The packages that check and test the page; building it takes care of itself, even without Node.
PAGE := $(if $(shell command -v npm),frontend/node_modules/.package-lock.json)

.DEFAULT_GOAL := help
.PHONY: help demo test coverage check lint format types imports page page-check docs docs-reference mutants constraints clean bench-documents bench-faces bench-images bench-intake bench-million bench-pollers bench-scale bench-server bench-storm

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.run $(if $(filter build/photos,$(PHOTOS)),build/photos) ## Set up and shrink real photos; PHOTOS=FOLDER takes your own
	@$(BIN)/python examples/demo_photos.py "$(PHOTOS)"

test: $(VENV)/.dev $(PAGE) page ## Set up and run the tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --cov --cov-report= $(TESTS)

coverage: $(VENV)/.dev ## Say whether the last `make test` covered the core (95 % of branches)
	$(BIN)/python -m coverage report --skip-covered --fail-under 95 \
	  --include 'src/batchmill/model/*,src/batchmill/db/*,src/batchmill/service/*,src/batchmill/attempt/*'

mutants: $(VENV)/.dev ## Break the core line by line and see that a test fails (long); MUTANTS='lease-*' takes some
	PYTHONPATH=tests $(BIN)/python -m mutants '$(MUTANTS)'

check: test coverage lint types imports page-check docs ## Everything that CI does

lint: $(VENV)/.dev ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev ## Put style and formatting right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev ## Check types
	$(BIN)/mypy

imports: $(VENV)/.dev ## Check that imports point down
	$(BIN)/lint-imports

page: $(VENV)/.dev ## Build the web page from frontend/, where it has changed
	$(BIN)/python hatch_build.py

page-check: $(PAGE) ## Check the types of the web page and run its unit tests (needs Node)
	$(if $(PAGE),cd frontend && npm run --silent check,@echo "npm is not on PATH: the types of the page are not checked.")

bench-documents: $(VENV)/.bench ## Measure the analysis of documents beside its peers; DOCUMENTS=FOLDER adds your own
	$(BIN)/python benchmarks/documents.py $(DOCUMENTS)

docs: $(VENV)/.docs docs-reference ## Build the documentation into build/site
	$(BIN)/mkdocs build --quiet --strict

docs-reference: $(VENV)/.dev ## Write docs/reference from the code
	$(BIN)/python docs/generate.py

bench-faces: $(VENV)/.bench $(if $(filter build/photos,$(FACES)),build/photos) ## Face crops against OpenCV; FACES=FOLDER takes your own
	$(BIN)/python benchmarks/faces.py "$(FACES)"

bench-server: $(VENV)/.dev $(VENV)/.bench $(if $(filter build/photos,$(PHOTOS)),build/photos) ## The server path against the bare kernel and a peer (needs Node and Redis); PHOTOS=FOLDER takes your own
	PYTHONPATH=tests $(BIN)/python benchmarks/server.py "$(PHOTOS)"

bench-intake: $(VENV)/.dev $(VENV)/.bench ## A ZIP of 1,000 photos and one of 2 GB: time beside cp, and memory (needs 9 GB of disk)
	PYTHONPATH=tests $(BIN)/python benchmarks/intake.py

bench-scale: $(VENV)/.dev $(VENV)/.bench $(if $(filter build/photos,$(PHOTOS)),build/photos) ## Workers on Redis and PostgreSQL against a peer (needs Node and both); PHOTOS=FOLDER takes your own
	PYTHONPATH=tests $(BIN)/python benchmarks/scale.py "$(PHOTOS)"

bench-storm: $(VENV)/.dev build/photos ## A thousand photos on many machines while things are killed
	PYTHONPATH=tests $(BIN)/python benchmarks/storm.py build/photos

bench-million: $(VENV)/.dev ## A batch of a million items on PostgreSQL and Redis
	PYTHONPATH=tests $(BIN)/python benchmarks/million.py

bench-pollers: $(VENV)/.dev ## A thousand callers and two hundred listeners on one batch
	$(BIN)/python benchmarks/pollers.py

bench-images: $(VENV)/.bench $(if $(filter build/photos,$(PHOTOS)),build/photos) ## Resizing and encoding against sharp (needs Node); PHOTOS=FOLDER takes your own
	$(BIN)/python benchmarks/images.py "$(PHOTOS)"

constraints: ## Renew constraints.txt: the newest versions that pass
	rm -rf build/constraints
	$(PYTHON) -m venv --without-pip build/constraints
	$(PYTHON) -m pip --python build/constraints/bin/python install --quiet -e '.[test,lint,docs,bench]'
	$(PYTHON) -m pip --python build/constraints/bin/python freeze --exclude-editable > constraints.txt

clean: ## Remove everything that was made, but no data
	rm -rf $(VENV) build dist frontend/node_modules src/batchmill/web/static .coverage .hypothesis .import_linter_cache .mypy_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[test,lint]'
	@touch $@ $(VENV)/.run

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/.dev
	$(INSTALL) -e '.[docs]'
	@touch $@

$(VENV)/.bench: pyproject.toml constraints.txt | $(VENV)/.run
	$(INSTALL) -e '.[bench]'
	@touch $@

frontend/node_modules/.package-lock.json: frontend/package-lock.json
	cd frontend && npm ci --silent
	@touch $@

# Real photos that two packages ship; the packages themselves are only unpacked, not installed.
PHOTO_NAMES := astronaut.png chelsea.png china.jpg coffee.png flower.jpg hubble_deep_field.jpg \
  motorcycle_left.png retina.jpg rocket.jpg

build/photos: | $(BIN)/python
	@echo "Fetching photos from the packages scikit-image and scikit-learn …"
	$(INSTALL) --no-deps --only-binary :all: --upgrade --target build/packages scikit-image scikit-learn
	@mkdir -p $@
	@find build/packages $(foreach name,$(PHOTO_NAMES),-name $(name) -o) -false | xargs -I '{}' cp '{}' $@
