# `make run` and `make test` are all that a new user needs: each installs what is missing.
.PHONY: run test check lint types docs wheel format bench setup clean uploads streams catalogue
.DEFAULT_GOAL := help

help:
	@echo "make run     start the service on http://127.0.0.1:8000 (with its own PostgreSQL)"
	@echo "make test    run the tests"
	@echo "make check   lint, format check, types, tests"
	@echo "make docs    check links, commands and settings in the documents"
	@echo "make wheel   build a wheel, its constraints and a source archive in dist/"
	@echo "make bench   measure speed and memory, compared with other servers (or: make bench catalogue)"
	@echo "make format  format the code"

setup:
	@scripts/bootstrap

# Running needs about half of what `setup` installs. After `setup`, everything stays installed.
run:
	@scripts/bootstrap run
	@exec .venv/bin/mosic serve

test: setup
	@scripts/test

lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check

types: setup
	.venv/bin/mypy

check: lint types test

docs: setup
	.venv/bin/python scripts/document.py --check
	.venv/bin/pytest -q tests/rules/test_documents.py

wheel: setup
	@.venv/bin/python scripts/package.py

format: setup
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

bench: setup
	@.venv/bin/python -m benchmarks $(filter-out $@,$(MAKECMDGOALS))

# Names of benchmarks behind `bench`, which runs them.
ifeq (bench,$(firstword $(MAKECMDGOALS)))
uploads streams catalogue:
	@:
endif

clean:
	rm -rf .venv .poetry .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
