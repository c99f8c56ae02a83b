# Each target makes what it needs: a fresh clone, Python >= 3.11, make and a package index are enough.

PYTHON ?= python3
EXTRAS := train,atari,box2d,mujoco,minari,hub,bench,dev
# Processes that pytest spreads over; 0 runs everything in one, which a debugger likes better.
WORKERS ?= auto

# The tests of a file stay together: what they share is made once.
SPREAD = -n $(WORKERS) --maxprocesses 4 --dist loadfile

BIN := .venv/bin
READY := .venv/.ready
CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("phr needs Python 3.11 or newer, this is %d.%d; name another one: make PYTHON=python3.12" % sys.version_info[:2])'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help .venv test lint types layers tests nightly format reproduce bench constraints verified audit clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[.a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv: $(READY) ## install phr with every extra into .venv, at the versions of constraints.txt

# The stamp goes first and comes back last: an installation that failed half-way never counts as done.
$(READY): pyproject.toml constraints.txt
	@rm -f $@
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

# One sub-make for each step keeps their order and stops at the first failure, under `make -j` too.
test: $(READY) ## ruff, mypy, import-linter and pytest with coverage
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory layers
	@$(MAKE) --no-print-directory tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports --no-logo

# Rooms that state the shapes of tensors; tests/conftest.py checks these, and all other types, at every call.
TYPED := tests/test_type_checks.py tests/networks tests/teacher/test_tape.py tests/teacher/test_returns.py \
	tests/distil/test_losses.py tests/distil/test_losses_of_vectors.py tests/distil/test_windows.py tests/distil/test_phr.py \
	tests/test_plan.py tests/test_actions.py

# One thread for each process: the networks are small, and threads that fight over cores only cost time.
tests: $(READY)
	PHR_CHECKS_TYPES=0 OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SPREAD) --cov --cov-report=term
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SPREAD) -q $(TYPED)

nightly: $(READY) ## every test with checks of types, and the long forms that make test leaves out
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SPREAD) -m "nightly or not nightly"

format: $(READY) ## let ruff mend and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reproduce: $(READY) ## the paper's figures 4 and 5 from nothing, into runs/reproduce
	$(BIN)/phr reproduce --profile quick --out runs/reproduce

bench: $(READY) ## time phr beside its peers, into runs/bench; let nothing else run meanwhile
	$(BIN)/phr bench --out runs/bench

# torch goes first, by its version alone: whatever build that brings is the one the rest is resolved against.
constraints: ## pin the newest versions that fit together; read the diff, then run make test
	@$(CHECK_PYTHON)
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	build/constraints/bin/pip install --disable-pip-version-check -e '.[$(EXTRAS)]'
	{ grep '^#' constraints.txt; \
	  build/constraints/bin/pip freeze --all --exclude pip --exclude-editable | sed 's/+[^ ]*$$//' | LC_ALL=C sort -f; \
	} > build/constraints.txt
	mv build/constraints.txt constraints.txt
	build/constraints/bin/pip install --disable-pip-version-check uv
	grep -Ev '^(#|torch==)' constraints.txt > build/hashed.in
	{ grep '^#' hashes.txt; build/constraints/bin/uv pip compile --quiet --no-deps --universal --generate-hashes \
	  --no-header --no-annotate build/hashed.in; } > build/hashes.txt
	mv build/hashes.txt hashes.txt
	rm -rf build/constraints build/hashed.in

# A person who installs so trusts the hashes in this repository, not the package index; torch aside, see hashes.txt.
verified: ## as .venv, but every package has to have the hash in hashes.txt
	@rm -f $(READY)
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r hashes.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps -e .
	$(BIN)/python -m pip check
	@touch $(READY)

# Without --strict a version that the service does not know, or a service that is not there, would pass.
audit: ## known weaknesses of the pinned versions, by a service on the network; unknown fails
	@rm -rf build/audit
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt
	@rm -rf build/audit

clean: ## remove caches and builds; .venv and runs stay
	rm -rf build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name .venv -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	rm -rf .venv
