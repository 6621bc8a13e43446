# Two commands for a new user: `make demo` shows it, `make test` proves it. Only Python 3.11-3.13 with pip is needed.

.PHONY: help demo up test soak check bench lock clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: .venv/.runtime  ## play the whole story on real data; KEEP=1 leaves it running
	@.venv/bin/trimtab demo $(if $(KEEP),--keep)

up: .venv/.runtime  ## the local cluster in the foreground: API on 3006, metrics on 9090
	@.venv/bin/trimtab up

PYTEST_FLAGS ?= --numprocesses auto --maxprocesses 4 --dist loadfile

test: check  ## the checks, then every test
	@tests/install-browser
	.venv/bin/pytest $(PYTEST_FLAGS)

soak: .venv/.test  ## the long forms: the registry's suite on every pair of database and store, a broker gone for 60 s
	TRIMTAB_TEST_EVERY_PAIR=1 TRIMTAB_TEST_LONG=1 .venv/bin/pytest $(PYTEST_FLAGS) tests/contract/registry tests/faults

check: .venv/.test  ## ruff, mypy --strict, and the layers
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: .venv/.test  ## the benchmarks, with the machine they ran on
	@.venv/bin/python -m bench

lock: .venv/.test  ## newest versions into requirements/*.lock
	.venv/bin/python -m pip install --quiet 'uv>=0.9'
	requirements/lock

clean:  ## remove the environment and the caches; data in .trimtab stays
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info

.venv/.runtime: requirements/runtime.lock pyproject.toml
	@requirements/install runtime

.venv/.test: requirements/test.lock pyproject.toml
	@requirements/install test
