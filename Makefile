PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo run test test-mta chaos lint bench lock clean

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: install
	$(BIN)/postledger demo

run: install
	$(BIN)/postledger serve

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-mta: install
	tests/mta/install-postfix
	$(BIN)/python -m pytest tests/mta

chaos: install
	$(BIN)/python -m tests.chaos --seconds 600

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m benchmarks

lock:
	$(BIN)/pip-compile --quiet --extra dev --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv build *.egg-info
