# Every target does its own set-up: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := model expressions processes edge dispatch runtime bindings outbound control storage observability javascript cli

.PHONY: help setup setup-dev demo test check soak bench lock clean
help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml $(wildcard runtime/capi/accelerator/*.[ch])
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/runtime.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	$(BIN)/python -m runtime.capi.accelerator
	touch $@

# Where it can't be built (no PyPI, no npm) it says so, and the next `make` tries again.
$(VENV)/.engine: $(VENV)/.runtime $(wildcard requirements/engine*.txt javascript/engine/*.py javascript/engine/glue/*.[ch]*) $(shell find javascript/engine/prelude -name '*.js' -o -name 'package*.json')
	$(BIN)/python -m javascript.engine
	test ! -f javascript/engine/built/engine.wasm || touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime $(VENV)/.engine
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	touch $@

setup: $(VENV)/.runtime $(VENV)/.engine ## make .venv with what `tenantry` needs
setup-dev: $(VENV)/.dev ## … and with what the tests need

demo: setup ## start a host, deploy two tenants, show the main job (EXIT=1: stop afterwards)
	$(BIN)/python -m demo $(if $(EXIT),--exit)

check: setup-dev ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## everything CI holds: check, then every test
	$(BIN)/python -m pytest $(ARGS)

soak: setup-dev ## mixed load with kill -9 of workers for SECONDS (600): memory, descriptors, handles flat
	$(BIN)/python -m benchmarks.soak --seconds $(or $(SECONDS),600)

bench: setup-dev ## the table of figures (ONLY=name for one row); writes build/bench.json
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

lock: ## remake requirements/*.txt from *.in (needs uv)
	for f in runtime dev engine; do uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header requirements/$$f.in -o requirements/$$f.txt; done

clean: ## remove .venv and build/
	rm -rf $(VENV) build
