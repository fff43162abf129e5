# Two commands are all a fresh machine needs: `make demo` and `make test`. Each sets itself up.
#
# `make PYTHON=/path/to/python3.12 venv` chooses the interpreter; JOBS=1 runs one test at a time.

.DEFAULT_GOAL := help
.PHONY: help venv demo test site check format audit bench peers bench-peers faults faults-short clean distclean

VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
UNFINISHED := $(VENV)/.unfinished
PEERS := $(VENV)/peers
JOBS ?= 2

# The first that runs, is new enough and can make environments; tested versions come first.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3.14 python3,$(if \
	$(shell $(name) -c 'import ensurepip, sys, venv; print(*[1] * (sys.version_info >= (3, 11)))' \
	2>/dev/null),$(name))))

help:  ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

venv: $(INSTALLED)  ## set up .venv with the pinned dependencies, once
	@echo "$(VENV) is set up."

# The mark of an unfinished installation stays behind when it is interrupted, and the next one then
# starts from an empty environment: pip cannot tell a half-written package from a whole one.
$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later with venv is needed; found none." \
		"Name one: make PYTHON=/path/to/python3 venv" >&2; exit 1; }
	@echo "Installing the pinned dependencies into $(VENV); this takes some minutes, once."
	@if test -e $(UNFINISHED) || ! $(RUN) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m venv --clear $(VENV); fi
	@touch $(UNFINISHED)
	@$(RUN) -m pip install -qq --disable-pip-version-check -c constraints.txt hatchling editables
	@$(RUN) -m pip install -qq --disable-pip-version-check -c constraints.txt \
		--no-build-isolation -e ".[dev,docs,export,images,mlflow,postgres,ray,tensorboard,wandb]"
	@rm $(UNFINISHED)
	@touch $@

demo: $(INSTALLED)  ## run the study depth_sweep on the built-in corpus
	$(RUN) -m hpo run --study depth_sweep

test: $(INSTALLED)  ## run the tests
	$(RUN) -m pytest -n $(JOBS) --dist worksteal --durations=15

site: $(INSTALLED)  ## build the documentation into build/site; a warning fails it
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet

check: $(INSTALLED)  ## format, lint and types, as continuous integration runs them
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

format: $(INSTALLED)  ## format, and fix what lint can fix
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

audit: $(INSTALLED)  ## ask the advisory databases about the pinned dependencies; needs a network
	$(RUN) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install -qq --disable-pip-version-check "pip-audit>=2.9"
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

bench: $(INSTALLED)  ## measure what docs/performance.md promises, two hours; needs HPO_DATA
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.training_step
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.decoding
	OMP_NUM_THREADS=1 $(RUN) -m benchmarks.kernels
	$(RUN) -m benchmarks.driver_calls
	$(RUN) -m benchmarks.harness_share
	$(RUN) -m benchmarks.precision
	@$(MAKE) --no-print-directory bench-peers

peers: $(PEERS)/.installed  ## set up .venv/peers: the project beside what it is compared with
	@echo "$(PEERS) is set up."

$(PEERS)/.installed: pyproject.toml constraints.txt benchmarks/peers/constraints.txt | $(INSTALLED)
	@echo "Installing the peers into $(PEERS); this takes some minutes, once."
	@$(PYTHON) -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt \
		hatchling editables
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt \
		-c benchmarks/peers/constraints.txt --no-build-isolation -e . \
		transformers accelerate ctranslate2
	@touch $@

bench-peers: $(PEERS)/.installed  ## compare with what one would use instead, an hour; needs HPO_DATA
	$(RUN) -m benchmarks.peers.training
	$(RUN) -m benchmarks.peers.decoding
	$(RUN) -m benchmarks.peers.configurations

faults: $(INSTALLED)  ## inject every fault as often as docs/reliability.md says, over an hour
	$(RUN) -m benchmarks.faults --jobs $(JOBS)

faults-short: $(INSTALLED)  ## inject every fault at least once, under 3 minutes
	$(RUN) -m pytest -n $(JOBS) --dist worksteal -rP tests/benchmarks/test_fault_bench.py

clean:  ## remove caches and built files; runs/ and .venv/ stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find core hpo tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## remove .venv too
	rm -rf $(VENV)
