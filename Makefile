# Every command of this project; `make` alone lists them. Needs Python 3.11 or newer with pip.
# uv is used where it is on PATH. Packages are installed below .venv and build, and nowhere else; what
# is built from the sources and shipped (the page, the face model) lies in the package, under src.

PYTHON ?= python3
# Every process that a test starts would compile the sources again.
unexport PYTHONDONTWRITEBYTECODE
PHOTOS ?= build/photos
FACES ?= build/photos
# A third of a test's time is waiting for a process, so there are more workers than cores. Three for
# each were tried: no faster, and tests that wait for an answer within a time fail.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))')
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --max-worker-restart 0 --durations 20
MUTANTS ?= *

VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
PIP_INSTALL = $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --constraint constraints.txt
ifdef UV
  # uv reads no pip.conf: pip takes over where the packages come from a place that only pip knows.
  INSTALL = install() { uv pip install --quiet --python $(BIN)/python --constraint constraints.txt "$$@" || $(PIP_INSTALL) "$$@"; }; install
else
  INSTALL = $(PIP_INSTALL)
endif

# The packages that build, check and test the page; without npm, building it takes care of itself.
PAGE := $(if $(shell command -v npm),build/page/node_modules/.package-lock.json)
NO_NPM = echo "npm is not on PATH: the page's own tests and types are skipped; apt-get install nodejs npm"; test -z "$$CI"

.DEFAULT_GOAL := help
.PHONY: help demo test test-python test-all coverage check lint format types imports page page-packages page-sources page-test page-types docs docs-reference mutants site services constraints clean bench-chunks bench-documents bench-faces bench-images bench-intake bench-million bench-noop bench-one bench-owners bench-photos bench-pollers bench-scale bench-server bench-small bench-steady bench-storm

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.run $(if $(filter build/photos,$(PHOTOS)),build/photos) ## Set up and shrink real photos; PHOTOS=FOLDER takes your own
	@$(BIN)/python examples/demo_photos.py "$(PHOTOS)"

test: $(if $(TESTS),,page-test) test-python ## Set up and run the tests; TESTS=tests/db takes some of them

test-python: page
	$(PYTEST) $(TESTS)

test-all: page ## The long ring: all databases everywhere, ten times the examples, coverage, the storm
	BATCHMILL_TEST_ALL=1 $(MAKE) coverage
	$(MAKE) page-test bench-storm mutants

mutants: $(VENV)/.dev ## Break the core line by line and see that a test fails (long); MUTANTS='lease-*' takes some
	PYTHONPATH=tests $(BIN)/python -m mutants '$(MUTANTS)'

coverage: page ## Run the tests and say which files of the core they cover too little
	$(PYTEST) --run-limit-s 10000 --timeout 1800 --cov --cov-report= $(TESTS)
	$(BIN)/python -m coverage json --quiet -o build/coverage.json
	$(BIN)/python .ci/coverage_bounds.py build/coverage.json

check: $(VENV)/.dev ## Everything that CI does; what is no test runs beside the tests
	$(MAKE) --jobs 6 test lint types imports page-types site

services: ## Start PostgreSQL, MariaDB and Redis for the tests, in Docker
	@command -v docker >/dev/null || { echo "Docker is not installed. Without it:"; \
	  echo "  apt-get install postgresql mariadb-server redis-server"; \
	  echo "and name their addresses in BATCHMILL_TEST_POSTGRESQL_URL, _MYSQL_URL and _REDIS_URL."; exit 1; }
	docker compose --file compose.dev.yaml up --detach --wait

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

page-packages: $(PAGE) ## Install what builds and tests the web page, below build (needs npm)

page-sources: $(PAGE)
	@mkdir -p build/page && cd build/page && rm -rf src tests public && cp -R ../../frontend/. .

page-test: page-sources ## Run the unit tests of the web page (needs npm)
	@$(if $(PAGE),cd build/page && npm run --silent test,$(NO_NPM))

page-types: page-sources ## Check the types of the web page (needs npm)
	@$(if $(PAGE),cd build/page && npm run --silent types,$(NO_NPM))

bench-documents: $(VENV)/.bench ## Measure the analysis of documents beside its peers; DOCUMENTS=FOLDER adds your own
	$(BIN)/python benchmarks/documents.py $(DOCUMENTS)

docs: docs-reference site ## Write docs/reference and build the documentation into build/site

site: $(VENV)/.dev
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

bench-million: $(VENV)/.dev ## A batch of a million items on PostgreSQL and SQLite
	PYTHONPATH=tests $(BIN)/python benchmarks/million.py

bench-chunks: $(VENV)/.dev ## Delivery alone, on each database, near and far; BENCH_BEFORE=FOLDER compares
	PYTHONPATH=tests $(BIN)/python benchmarks/chunks.py

bench-owners: $(VENV)/.dev ## A hundred small batches from one owner, and from up to twenty
	$(BIN)/python benchmarks/owners.py

bench-steady: $(VENV)/.dev ## Half an hour of steady mixed load: what grows
	PYTHONPATH=tests $(BIN)/python benchmarks/steady.py

bench-pollers: $(VENV)/.dev ## Crowds of callers and listeners on one batch
	$(BIN)/python benchmarks/pollers.py

bench-images: $(VENV)/.bench $(if $(filter build/photos,$(PHOTOS)),build/photos) ## Resizing and encoding against sharp (needs Node); PHOTOS=FOLDER takes your own
	$(BIN)/python benchmarks/images.py "$(PHOTOS)"

bench-one: $(VENV)/.dev $(if $(filter build/photos,$(PHOTOS)),build/photos) ## One photo by one command, beside sharp-cli and others (needs Node); PHOTO=FILE takes your own
	$(BIN)/python benchmarks/one.py "$(PHOTOS)"

bench-small: $(VENV)/.dev ## Small files beside a bare loop: what an item costs (needs Node and PostgreSQL)
	PYTHONPATH=tests $(BIN)/python benchmarks/small.py

bench-photos: $(VENV)/.dev $(if $(filter build/photos,$(PHOTOS)),build/photos) ## Forty photos by one command beside the usual loops (needs Node); PHOTOS=FOLDER takes your own
	$(BIN)/python benchmarks/photo_runs.py "$(PHOTOS)"

bench-noop: $(VENV)/.dev ## Files of which nothing is asked, through children: what delivery costs
	PYTHONPATH=tests $(BIN)/python benchmarks/noop.py

.PHONY: meters
meters: $(VENV)/.dev ## Print what the house rules measure: hops of a photo, duplicate names, circles, words …
	@$(BIN)/python tests/architecture/meters.py

constraints: ## Renew constraints.txt: the newest versions that pass
	rm -rf build/constraints
	$(PYTHON) -m venv --without-pip build/constraints
	$(PYTHON) -m pip --python build/constraints/bin/python install --quiet -e '.[test,lint,docs,bench]'
	$(PYTHON) -m pip --python build/constraints/bin/python freeze --exclude-editable > constraints.txt

clean: ## Remove everything that was made, but no data
	rm -rf $(VENV) build dist src/batchmill/web/static .coverage .import_linter_cache .mypy_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python $(PAGE)
	$(INSTALL) -e '.[test,lint,docs]'
	@touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml constraints.txt | $(VENV)/.run
	$(INSTALL) -e '.[bench]'
	@touch $@

build/page/node_modules/.package-lock.json: frontend/package.json frontend/package-lock.json
	@mkdir -p build/page && cp $^ build/page
	cd build/page && npm ci --silent --no-audit --no-fund
	@touch $@

# Real photos that two packages ship; the packages themselves are only unpacked, not installed.
PHOTO_NAMES := astronaut.png chelsea.png china.jpg coffee.png flower.jpg hubble_deep_field.jpg \
  motorcycle_left.png retina.jpg rocket.jpg

build/photos: | $(BIN)/python
	@echo "Fetching photos from the packages scikit-image and scikit-learn …"
	$(INSTALL) --no-deps --only-binary :all: --upgrade --target build/packages scikit-image scikit-learn
	@mkdir -p $@
	@find build/packages $(foreach name,$(PHOTO_NAMES),-name $(name) -o) -false | xargs -I '{}' cp '{}' $@
