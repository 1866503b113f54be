# One command each: `make demo`, `make demo-check`, `make quick`, `make test`. Each sets up what it needs from nothing.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_STAMP := $(VENV)/.installed-demo
STAMP := $(VENV)/.installed
export PYTHONPATH :=
unexport DJANGO_SETTINGS_MODULE
# Each process of the tests would compile everything again.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo demo-check demo-oscar demo-oscar-check oscar quick test lint tests matrix corners coverage chaos schemathesis themes pictures bench bench-peers growth soak scale upgrade-check help

help:
	@echo "make demo         a shop, its receivers, a worker: click through them; Ctrl-C ends all"
	@echo "make demo-check   the same without a person, ending in ok: or failed:"
	@echo "make demo-oscar   a shop on django-oscar with the same receivers; demo-oscar-check: without a person"
	@echo "make quick        ruff, and the tests that start no browser and no process: a minute"
	@echo "make test         lint, types, module order, migrations, all tests: 5 minutes; TEST_JOBS=4"
	@echo "make oscar        the tests of django-oscar, and its demo without a person: 2 minutes"
	@echo "make matrix       the suite on each CPython, Django and database that the metadata claims (noxfile.py); hours"
	@echo "make corners      those corners of it that CI runs, side by side; JOBS=2"
	@echo "make coverage     the tests again, with what they do not reach (bar: 95 %)"
	@echo "make chaos        faults: kill -9, restarts, locks, hostile endpoints on real servers; SEED=1 repeats a run"
	@echo "make upgrade-check the former commit's store and worker beside this one's, on its schema; UPGRADE_FROM=commit"
	@echo "make schemathesis requests of every kind against the API and its document; SCHEMATHESIS_SECONDS=300"
	@echo "make themes       the admin's pages with django-unfold, django-jazzmin and django-grappelli"
	@echo "make pictures     the documents' pictures, taken anew with chromium"
	@echo "make bench        what it costs, as ratios, a JSON object a line (benchmarks/README.md)"
	@echo "make growth       each step and page with ten million attempts, against ten thousand; 15 GB of disk"
	@echo "make soak         workers at half of what they can do, beside broken endpoints, for SOAK_MINUTES=30; flat or growing"
	@echo "make scale        measures this machine's costs, and simulates what more orders need: docs/scale.md"
	@echo "make bench-peers  how fast other webhook apps are, installed from the package index; needs PostgreSQL, Redis, nginx"

# The demo needs a tenth of what the tests need.
$(DEMO_STAMP): pyproject.toml setup.py orderhooks/__init__.py
	@echo "Installing the demo into $(VENV), once: about half a minute."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --upgrade "pip>=24" "setuptools>=77"
	@$(BIN)/pip install --quiet --editable ".[demo]"
	@touch $(DEMO_STAMP)

$(STAMP): $(DEMO_STAMP)
	@echo "Installing what the tests need into $(VENV), once: a few minutes."
	@$(BIN)/pip install --quiet --editable ".[postgres,mysql,redis,celery,openapi,metrics,tracing,demo,test]"
	@touch $(STAMP)

demo: $(DEMO_STAMP)
	@$(BIN)/python example_project/manage.py demo

demo-check: $(DEMO_STAMP)
	@$(BIN)/python example_project/manage.py demo_check

# django-oscar has an environment of its own: the other tests run without it.
OSCAR_BIN := $(VENV)-oscar/bin
OSCAR_STAMP := $(VENV)-oscar/.installed
$(OSCAR_STAMP): pyproject.toml setup.py orderhooks/__init__.py
	@echo "Installing django-oscar into $(VENV)-oscar, once: about a minute."
	@$(PYTHON) -m venv $(VENV)-oscar
	@$(OSCAR_BIN)/pip install --quiet --upgrade "pip>=24" "setuptools>=77"
	@$(OSCAR_BIN)/pip install --quiet --editable ".[demo,oscar,oscar_test]"
	@touch $(OSCAR_STAMP)

demo-oscar: $(OSCAR_STAMP)
	@DJANGO_SETTINGS_MODULE=oscar_shop.settings $(OSCAR_BIN)/python example_project/manage.py demo_oscar

demo-oscar-check: $(OSCAR_STAMP)
	@DJANGO_SETTINGS_MODULE=oscar_shop.settings $(OSCAR_BIN)/python example_project/manage.py demo_oscar_check

# CI runs it beside `make test`. What Oscar does that Django deprecates is not ours to change.
OSCAR_TESTS := --ds=tests.oscar.settings -W ignore::DeprecationWarning -W ignore::PendingDeprecationWarning
oscar: $(OSCAR_STAMP)
	PYTHONPATH=. $(OSCAR_BIN)/python -m pytest $(OSCAR_TESTS) tests/oscar -n 2 $(OSCAR_ARGS)
	$(MAKE) demo-oscar-check

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	DJANGO_SETTINGS_MODULE=tests.settings PYTHONPATH=. $(BIN)/python -m django makemigrations --check --dry-run orderhooks

# Twice as many processes as cores: many tests wait for a browser, a server or a child. In the order of
# tests/conftest.py, each by itself but for those of an `xdist_group`.
TEST_JOBS ?= $(shell echo $$((2 * $$(nproc 2>/dev/null || echo 2))))
SIDE_BY_SIDE := -n $(TEST_JOBS) --dist loadgroup --no-loadscope-reorder

# What CI runs again on other services: TEST_DATABASE=postgres TEST_REDIS_URL=redis://… make tests
tests: $(STAMP)
	PYTHONPATH=. $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

test: lint tests

quick: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=. $(BIN)/python -m pytest $(SIDE_BY_SIDE) -q -m "not slow" $(PYTEST_ARGS)

# nox has an environment of its own, as its sessions have; interpreters are found on PATH and under pyenv.
NOX := $(VENV)-nox/bin/nox
$(NOX):
	$(PYTHON) -m venv $(VENV)-nox
	$(VENV)-nox/bin/pip install --quiet "nox>=2025.5.1" "uv>=0.5"

# Names of sessions: make matrix NOX_ARGS='-s "suite(3.13-6.1-newest-mariadb)"'
matrix: $(NOX)
	$(NOX) $(NOX_ARGS)

# Installed one after the other, as all write one folder of metadata; then side by side, each with its own log.
corners: $(NOX)
	PATH="$(CURDIR)/$(VENV)-nox/bin:$$PATH" .ci/corners

# Apart from `make test`: CPython 3.11 lets no two threads install a trace function at once, and one run in ten
# lost a sender's thread to that.
coverage: $(STAMP)
	$(MAKE) tests PYTEST_ARGS="--cov --cov-report=term $(PYTEST_ARGS)"

# What it needs and does: tests/chaos/conftest.py. Rows run side by side, as most of them wait.
CHAOS_JOBS ?= 4
chaos: $(STAMP)
	@PYTHONPATH=. $(BIN)/python -m pytest tests/chaos -n $(CHAOS_JOBS) --dist worksteal --randomly-dont-reorganize \
		-o tmp_path_retention_policy=failed \
		$(if $(SEED),--randomly-seed=$(SEED)) $(PYTEST_ARGS)

# The newest release, or the commit before the last change of the schema, unless UPGRADE_FROM names another.
upgrade-check: $(STAMP)
	@PYTHON=$(BIN)/python .ci/upgrade $(UPGRADE_FROM)

# With the suite it runs for half a minute, and the same each time.
SCHEMATHESIS_SECONDS ?= 300
schemathesis: $(STAMP)
	SCHEMATHESIS_SECONDS=$(SCHEMATHESIS_SECONDS) PYTHONPATH=. $(BIN)/python -m pytest -s tests/api/test_schemathesis.py

themes: $(STAMP)
	$(BIN)/pip install --quiet --editable ".[themes]"
	for theme in unfold jazzmin grappelli; do \
	    TEST_ADMIN_THEME=$$theme PYTHONPATH=. $(BIN)/python -m pytest tests/admin/test_themes.py tests/admin/test_store_pages.py || exit 1; \
	done

pictures: $(STAMP)
	PYTHONPATH=. $(BIN)/python -m pytest tests/browser/test_pictures.py --screenshots

# BENCH_ARGS: names of benchmarks, --no-fail. -B, as nothing is written outside benchmarks/.
bench: $(STAMP)
	@PYTHONPATH=. $(BIN)/python -B -m benchmarks $(BENCH_ARGS)

growth: $(STAMP)
	@PYTHONPATH=. $(BIN)/python -B -m benchmarks.growth

SOAK_MINUTES ?= 30
soak: $(STAMP)
	@PYTHONPATH=. $(BIN)/python -B -m benchmarks.soak --minutes $(SOAK_MINUTES)

scale: $(STAMP)
	@PYTHONPATH=. $(BIN)/python -B -m benchmarks.calibrating
	@PYTHONPATH=. $(BIN)/python -B -m benchmarks.scale

bench-peers: $(STAMP)
	@PYTHONPATH=. $(BIN)/python -B -m benchmarks.peers $(BENCH_ARGS)
