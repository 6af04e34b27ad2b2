# Every target that users and CI rely on. `make run` and `make test` need nothing done before them.
PYTHON ?= python3.11
VENV := .venv
PY := $(VENV)/bin/python
ARGS ?=
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
SEEDS ?= 20
FIRST_SEED ?= 1
EVERY ?= 1
MUTANTS ?= 300
STEPS ?= 1000000

.PHONY: setup run test check test-browser chromium cover bench docs clean crash faults clocks fuzz hostile simulate differential mutation soak load peers sdk-groww

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

run: setup
	$(PY) main.py run $(ARGS)

test: setup
	$(PY) -m pytest $(ARGS)

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy .
	$(PY) -m pytest tests/test_architecture.py -n 0

# The page in a real browser. Installs Debian's chromium where there is none; then no browser test may be skipped.
chromium:
	command -v chromium >/dev/null || $(AS_ROOT) sh -c "apt-get update -q && apt-get install -qy --no-install-recommends chromium"

test-browser: setup chromium
	NIYAM_TEST_BROWSER=1 $(PY) -m pytest tests/browser -n 2 $(ARGS)

cover: setup
	$(PY) -m pytest --cov --cov-branch --cov-report term $(ARGS)

# All measures: make bench; one with the engines it is measured against: make bench ARGS="peers".
bench: setup peers
	$(PY) -m benchmarks $(ARGS)

# What 50 open pages and 200 requests a second do to the engine at 5,000 ticks a second.
load: setup
	$(PY) -m benchmarks load $(ARGS)

peers: $(VENV)/bench/.ready $(VENV)/bench-nautilus/.ready

$(VENV)/bench/.ready: requirements-bench.txt
$(VENV)/bench-nautilus/.ready: requirements-bench-nautilus.txt
$(VENV)/groww/.ready: requirements-groww.txt

$(VENV)/bench/.ready $(VENV)/bench-nautilus/.ready $(VENV)/groww/.ready:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Groww's official SDK, which cannot share our environment, at Groww's simulator; the other four brokers' SDKs are in `make test`.
sdk-groww: setup $(VENV)/groww/.ready
	$(PY) -m tests.wire.groww_sdk $(VENV)/groww/bin/python

simulate: setup
	$(PY) -m tests.simulation --seeds $(SEEDS) --first $(FIRST_SEED) $(if $(BROKER),--broker $(BROKER))

# Our backtest against backtrader on a folder of real bars: make differential DATA=/path/to/data (N=4: on so many cores)
differential: setup
	$(PY) -m tests.differential --data $(DATA) --workers $(or $(N),1)

# The pages that are made from the code.
docs: setup
	$(PY) -m tests.contract.table
	$(PY) -m tests.api.collection

# Every crash point of a short day; with N=n also n kills -9 of the real daemon at random moments.
crash: setup
	$(PY) -m tests.proofs.crash_points
ifdef N
	$(PY) -m tests.e2e.crash --kills $(N)
endif

# Every failing disk operation and every torn end of a file; EVERY=n tries each n-th.
faults: setup
	$(PY) -m tests.proofs.io_faults --every $(EVERY)

# Our clock jumps, drifts and sleeps on every kind of day.
clocks: setup
	$(PY) -m tests.proofs.clock_suite

# Messages of every broker cut and garbled, N (1,000,000) for each of a dozen targets.
fuzz: setup
	$(PY) -m tests.proofs.fuzz --inputs $(or $(N),1000000)

# A strategy that wants anything at any time, for so many steps: no cap is ever passed.
hostile: setup
	$(PY) -m tests.proofs.hostile --steps $(STEPS)

# A seeded sample of wrong versions of the modules that guard the money, against their unit tests.
mutation: setup
	$(PY) -m tests.mutation --mutants $(MUTANTS) --seed $(FIRST_SEED)

# Three days of 500 instruments at the wire simulator: memory, threads and file descriptors stay flat.
soak: setup
	$(PY) -m tests.proofs.soak

clean:
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .coverage .mutation
