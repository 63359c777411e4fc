# The few commands a person types. Everything else is behind them: `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
UV := .tools/bin/uv
UV_VERSION := 0.13.9
EXPORT := $(UV) export -q --frozen --format requirements.txt --no-emit-workspace --no-header --no-annotate
export PYTHONUNBUFFERED := 1
# Without byte code each of the thousand processes of the tests compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# Nor do sources of another checkout, which would be tested instead of these.
unexport PYTHONPATH

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The development environment, from the committed, hash-locked list.
# Installing the connector compiles its native code into its sources (connector/hatch_build.py), for all who use those.
.venv/ready: requirements/dev.txt core/pyproject.toml hooks/pyproject.toml connector/pyproject.toml evictor/pyproject.toml \
		connector/hatch_build.py $(wildcard connector/native/*.zig)
	@test -x $(UV) || { python3 -m venv .tools 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv && python3 -m venv .tools; }; }
	@$(UV) --version 2>/dev/null | grep -qF "uv $(UV_VERSION)" || .tools/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	@$(UV) venv -q --clear .venv
	@VIRTUAL_ENV=.venv $(UV) pip sync -q --require-hashes requirements/dev.txt
	@VIRTUAL_ENV=.venv $(UV) pip install -q --no-deps -e core -e hooks -e connector -e evictor
	@touch $@

.PHONY: venv
venv: .venv/ready ## the development environment in .venv

.PHONY: demo demo-down
demo: .venv/ready ## a two-node cluster, the chart, two vLLM pods, and a prompt that one prefilled and the other answered from storage
	@$(PY) -m tests.demo
demo-down: .venv/ready ## takes all of it away again
	@$(PY) -m tests.lab down

.PHONY: test
test: .venv/ready ## the gate, from a bare checkout: lint, unit, process, chart, engine (real vLLM), cluster (the lab)
	@$(PY) -m tests.run

.PHONY: acceptance
acceptance: .venv/ready ## what is too long or too heavy for the gate; keeps a record in docs/acceptance.md (ARGS="--list")
	@$(PY) -m tests.acceptance $(ARGS)

.PHONY: lint unit process chart engine cluster
lint unit process chart engine cluster: .venv/ready ## one layer of the tests
	@$(PY) -m tests.run $@

# The Python of a real vLLM, which `tests.lab build engine` makes.
ENGINE_PY = $(shell $(PY) -c 'from tests.lab.paths import engine_python; print(engine_python())')

.PHONY: bench bench-cluster soak
bench: .venv/ready ## the connector beside vLLM's own file tier and fio: build/bench.json, build/bench/README.md (ARGS="--quick --only loads")
	@$(PY) -m tests.lab build engine
	@PYTHONPATH=core/src:connector/src:. $(ENGINE_PY) -m tests.bench $(ARGS)
	@$(PY) -m tests.bench.plots build/bench.json build/bench
bench-cluster: .venv/ready ## cache on, off and stock tier under a load of shared prefixes, on the lab: build/bench-cluster (ARGS="--quick")
	@$(PY) -m tests.cluster_bench $(ARGS)
soak: .venv/ready ## half an hour of faults, replaced adapters, resets and reloads under two real vLLMs, every answer compared (ARGS="--minutes 2")
	@$(PY) -m tests.lab build engine
	@PYTHONPATH=core/src:connector/src:. $(ENGINE_PY) -m tests.soak $(ARGS)

# Helm and crane as the lab has them; HELM and CRANE name others.
LAB_BIN = $(shell $(PY) -c 'from tests.lab.paths import lab; print(lab().bin)')
RELEASE = HELM="$${HELM:-$(LAB_BIN)/helm}" CRANE="$${CRANE:-$(LAB_BIN)/crane}" RELEASE_KEY="$(RELEASE_KEY)" $(PY) -m release

.PHONY: release push
release: .venv/ready ## image, wheels, chart, list of parts, checksums: build/release (RELEASE_KEY=~/.ssh/id_ed25519 signs it)
	@$(PY) -m tests.lab build release
	@$(RELEASE) build $(ARGS)
push: .venv/ready ## puts it into a registry: make push REGISTRY=registry.example.com/llm
	@$(PY) -m tests.lab build release
	@$(RELEASE) push "$(REGISTRY)" $(ARGS)

.PHONY: gpu-bundle
gpu-bundle: .venv/ready ## real vLLM and the connector for a GPU machine without network: build/gpu (docs/benchmarks/gpu.md)
	@mkdir -p build/gpu && .tools/bin/python tests/gpu/bundle.py build/gpu --connector connector/src core/src

.PHONY: format
format: .venv/ready ## formats the code
	@.venv/bin/ruff format . && .venv/bin/ruff check -q --fix .

.PHONY: generate
generate: .venv/ready ## makes what is made from sources: schemas, dashboards, made pages of docs/, pictures (Graphviz)
	@$(PY) -m llmd_storage_connector.config > schemas/connector-config.schema.json
	@$(PY) -m llmd_storage_evictor.config > schemas/evictor-config.schema.json
	@$(PY) charts/tools/make_backends.py
	@$(PY) charts/tools/make_connector.py
	@$(PY) charts/tools/make_schema.py
	@$(PY) charts/tools/make_dashboards.py
	@$(PY) charts/tools/make_metrics.py
	@$(PY) docs/site/sentences.py > docs/sentences.md
	@$(PY) -m tests.acceptance --page
	@if command -v dot > /dev/null; then $(PY) docs/site/draw.py; else echo "no Graphviz: docs/pictures are left as they are"; fi

.PHONY: docs
docs: .venv/ready ## the documentation as a site: build/site/index.html
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet && echo "build/site/index.html"

.PHONY: lock
lock: .venv/ready ## resolves again: requirements/*.txt (the lock itself holds addresses and stays here), image/debian.lock
	@$(UV) lock
	@$(EXPORT) --group dev > requirements/dev.txt
	@$(EXPORT) --no-default-groups --only-group engine > requirements/engine.txt
	@$(EXPORT) --no-default-groups --package llm-d-storage-hooks --package llm-d-storage-evictor > requirements/image.txt
	@$(EXPORT) --no-default-groups --package llm-d-storage-connector > requirements/connector.txt
	@$(EXPORT) --no-default-groups --only-group build > requirements/build.txt
	@$(PY) -m image.debian
