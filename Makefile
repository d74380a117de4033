# Two commands for a newcomer: `make demo` and `make test`. Both set the project up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: help install demo ui test test-ui chaos bench lint docs lock clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## / - /'

install: $(VENV)/.installed  ## create .venv with the pinned dependencies

# pip installs the pinned uv, uv installs the rest: the same files, checked by hash, in a tenth of the time.
$(VENV)/.installed: requirements.txt requirements-uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: install  ## classify the sixteen photographs and print the table
	@$(BIN)/wca demo

ui: install  ## watch and start flows in the Prefect UI until Ctrl-C (PORT=4200, STORE=data/store)
	@$(BIN)/wca ui $(if $(PORT),--port $(PORT)) $(if $(STORE),--store $(STORE))

# A file's tests stay together: they share a store, a server and a model.
test: install  ## run the tests, on two processes
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-ui: install  ## run the browser test of `make ui`, which needs chromium
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m ui

chaos: install  ## cause random faults and compare the results, for an hour (MINUTES=5, SEED=7)
	HF_HUB_OFFLINE=1 $(BIN)/python -m tests.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

bench: install  ## measure orchestration, embedding, storage, scoring and memory; most of an hour, a quiet machine
	for what in orchestration "embed --modules" "embed --precision fp32" storage sql_scores gather "score --images 5000" methods "memory --images 500 --pool 2" "budget --seeds 1"; do \
	  set -- $$what; name=$$1; shift; \
	  HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/$$name.py $$@ || exit 1; done

lint: install  ## formatting, lint, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy data/photo-lite/train.py
	$(BIN)/lint-imports

docs: install  ## write docs/tables.md, docs/methods.md, the table `methods` and the tables of docs/scale.md
	$(BIN)/python -c "from tasks.store.schemas import markdown; print(markdown(), end='')" > docs/tables.md
	$(BIN)/python -c "from tasks.methods.describe import write_markdown; print(write_markdown(), end='')" > docs/methods.md
	$(BIN)/python -c "from tasks.methods.describe import write_sql; print(write_sql(), end='')" > tasks/store/published/methods.sql
	$(BIN)/python -c "from pathlib import Path; from benchmarks.scale import replace_table; p = Path('docs/scale.md'); p.write_text(replace_table(p.read_text()))"

lock: install  ## pin the dependencies again, with hashes and without naming a package host
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --all-extras --output-file requirements.txt pyproject.toml
	printf 'uv\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --output-file requirements-uv.txt -

clean:  ## remove the environment and every result
	rm -rf $(VENV) data/store
