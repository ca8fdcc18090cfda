# Trident's daily commands; `make` alone lists them.
# A fresh clone needs make, GCC (the kernels are C++, built from source) and Python 3.11 or 3.12, nothing else.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
DEMO_DIR ?= demo-output
# Options of the demo's export, such as --set engine.library=tensorrt_rtx.
EXPORT_ARGS ?=
DEMO_EXTRAS := serve,triton,train,export,demo
DEV_EXTRAS := $(DEMO_EXTRAS),gpu,tensorrt,bench,gateway,cluster,trackers,dev
BENCH_DIR ?= bench-output
# The server that `make thin-client` also asks, such as 127.0.0.1:8001; empty: none.
URL ?=
PYTEST_ARGS ?=
# Processes that run tests side by side; each computes on one thread. Tests of servers wait more than they compute: one
# more than two cores have.
WORKERS ?= 3
# Of the long forms' randomness; empty: another one each time.
SEED ?=

# The first interpreter that runs and is 3.11 or 3.12 (a name on PATH alone proves nothing: pyenv's shims); `make PYTHON=…` overrides.
FIND_PYTHON = for name in python3 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' 2>/dev/null && echo "$$name" && exit; done; true
PYTHON ?= $(shell $(FIND_PYTHON))

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: install
install: $(VENV)/.dev-installed ## Set up .venv with everything that development needs

.PHONY: demo
demo: export HF_HUB_OFFLINE := 1
demo: $(VENV)/.demo-installed ## Train, export, serve, search and verify the bundled sample (about two minutes on two cores)
	@PATH="$(CURDIR)/$(BIN):$$PATH" scripts/demo.sh "$(DEMO_DIR)" $(EXPORT_ARGS)

.PHONY: test
test: export HF_HUB_OFFLINE := 1
test: export OMP_NUM_THREADS := 1
test: $(VENV)/.dev-installed ## Run all tests (PYTEST_ARGS='-k index' for some)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

.PHONY: test-slow
test-slow: export HF_HUB_OFFLINE := 1
test-slow: export OMP_NUM_THREADS := 1
test-slow: $(VENV)/.dev-installed ## Run the long forms of tests, which print their seed (SEED=… repeats one)
	PATH="$(CURDIR)/$(BIN):$$PATH" TRIDENT_TEST_SEED="$(SEED)" $(BIN)/python -m pytest -m slow -n 2 --dist loadfile \
		--no-loadscope-reorder $(PYTEST_ARGS)

.PHONY: check
check: $(VENV)/.dev-installed ## Check formatting, lint, types, scripts, workflows, hooks, alert rules and what describes the image
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 client/trident_client
	$(BIN)/actionlint .github/workflows/*.yml
	$(BIN)/pre-commit validate-config .pre-commit-config.yaml
	$(BIN)/shellcheck scripts/*.sh findings/*.sh .ci/run
	$(BIN)/hadolint Dockerfile.triton
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml deploy/compose-store.yaml
	$(BIN)/kubernetes-validate --strict --quiet deploy/kubernetes.yaml deploy/kubernetes-store.yaml
	@if command -v promtool >/dev/null; then \
		promtool check rules deploy/prometheus/trident-alerts.yml && \
		promtool test rules deploy/prometheus/trident-alerts-test.yml; else \
		echo "the alert rules were not checked: no promtool on PATH (Debian and Ubuntu: apt-get install prometheus)"; fi

.PHONY: format
format: $(VENV)/.dev-installed ## Format the code and apply the lint fixes that are safe
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: build
build: $(VENV)/.dev-installed ## Build the sdists and the wheels into dist/
	$(BIN)/python -m build
	$(BIN)/python -m build --outdir dist client

.PHONY: perf-analyzer
perf-analyzer: $(BIN)/python ## Set up perf_analyzer, NVIDIA's load generator, for trident bench
	@PYTHON="$(BIN)/python" scripts/perf_analyzer.sh

.PHONY: bench-check
bench-check: $(VENV)/.dev-installed perf-analyzer ## Hold serving the sample against bench/budget.toml (ten minutes)
	@PATH="$(CURDIR)/$(BIN):$$PATH" scripts/bench_check.sh "$(BENCH_DIR)"

.PHONY: peers
peers: $(BIN)/python ## Set up .venv-peers, the servers that bench/peers.py compares with
	@PYTHON="$(BIN)/python" scripts/peers.sh

.PHONY: thin-client
thin-client: require-python ## Prove that the client alone is thin (URL=host:port also asks that server)
	@PYTHON="$(PYTHON)" scripts/thin_client.sh $(URL)

# The image's Python: on PATH, or pyenv's; `make image-check IMAGE_PYTHON=…` names another.
FIND_IMAGE_PYTHON = for name in python3.12 python3 "$$HOME"/.pyenv/versions/3.12.*/bin/python3; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null && echo "$$name" && exit; done; true
IMAGE_PYTHON ?= $(shell $(FIND_IMAGE_PYTHON))

.PHONY: image-check
image-check: require-python ## Run the installs of Dockerfile.triton in a fresh environment of the image's Python, 3.12
	@if [[ -z "$(IMAGE_PYTHON)" ]]; then echo "The image has Python 3.12, found none: install it, or name it with \
	'make image-check IMAGE_PYTHON=/path/to/python3.12'" >&2; exit 1; fi
	@PIP_QUIET=1 "$(PYTHON)" -u scripts/image_check.py "$(IMAGE_PYTHON)"

.PHONY: constraints
constraints: require-python ## Resolve constraints.txt anew from the extras in pyproject.toml
	@PYTHON="$(PYTHON)" scripts/constraints.sh

.PHONY: clean
clean: ## Remove .venv, caches, builds and the demo's output
	rm -rf $(VENV) .venv-peers build kernels/build kernels/src/*.egg-info dist demo-output bench-output .mypy_cache .ruff_cache .pytest_cache
	find client core export gateway gpu model_repository scripts tests train -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: require-python
require-python:
	@if [[ -z "$(PYTHON)" ]]; then \
		echo "Trident needs Python 3.11 or 3.12, found neither on PATH: install one, or name it with 'make PYTHON=/path/to/python3.12'" >&2; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' 2>/dev/null || { \
		echo "Trident needs Python 3.11 or 3.12, got '$(PYTHON)' (PYTHON): name another with 'make PYTHON=/path/to/python3.12'" >&2; exit 1; }

# Installed again only when one of these is newer than the stamp.
INSTALLED := pyproject.toml client/pyproject.toml hatch_build.py constraints.txt scripts/install.sh $(wildcard kernels/*.toml kernels/*.py kernels/src/*.cpp kernels/src/*.h kernels/src/index/*)
$(VENV)/.demo-installed: $(INSTALLED) | $(BIN)/python
	@echo "installing into $(VENV): $(DEMO_EXTRAS) (a few minutes the first time)"
	@PYTHON="$(BIN)/python" scripts/install.sh "$(DEMO_EXTRAS)"
	@touch $@

$(VENV)/.dev-installed: $(INSTALLED) | $(BIN)/python
	@echo "installing into $(VENV): $(DEV_EXTRAS) (a few minutes the first time)"
	@PYTHON="$(BIN)/python" scripts/install.sh "$(DEV_EXTRAS)"
	@touch $(VENV)/.demo-installed $@

$(BIN)/python: | require-python
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "'$(PYTHON) -m venv' failed: on Debian and Ubuntu its venv module is a package of its own (python3-venv)" >&2; exit 1; }
