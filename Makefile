PYTHON ?= python3
BIN := .venv/bin

.PHONY: install test quick lint clean

# Everything the tests and the linters need, in an environment of the project's own.
install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test,lint,plots,logging]' -c constraints.txt
	touch $@

test: install
	$(BIN)/python -m pytest

quick: install
	$(BIN)/python -m pytest -m 'not slow'

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv demo build *.egg-info
