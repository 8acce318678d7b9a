# Every command for people who work in this repository. `make` alone lists them.

.DEFAULT_GOAL := help
MODEL ?= sam_tiny
VERSION ?= 1.0
PRECISION ?= auto
DEVICE ?= cpu

ifndef PYTHON
# The first name that exists and runs as 3.11; a version manager's shim may exist and not run.
PYTHON := $(shell for python in python3.11 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
endif
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.set-up
# This file lets `python -m tools.…`, `benchmarks.…` and `training.…` run in any folder.
ANYWHERE := $(VENV)/lib/python3.11/site-packages/grainserve-repository.pth
PROJECTS := handler/pyproject.toml client/pyproject.toml
# Large wheels on a slow line.
export UV_HTTP_TIMEOUT ?= 300
# OpenMP's threads spin 3000 times while they wait for each other, then sleep; see tools/launch.py.
export GOMP_SPINCOUNT ?= 3000

.PHONY: help setup demo serve test test-random test-faults lint docs format mar package bench bench-jobs bench-prompts bench-scaleout swap-show \
	accuracy render image-test fuzz mutants sbom audit lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

setup: $(STAMP) $(ANYWHERE) ## Install everything into .venv (Python 3.11; does nothing when nothing changed)

$(STAMP): requirements.txt $(PROJECTS) Makefile
	@test -n "$(PYTHON)" || { echo "grainserve: No Python 3.11 found. Install it, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) tools/preflight.py $(VENV)
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); the first time this takes minutes and 5 GB."
	@$(RUN) -m pip install --quiet --disable-pip-version-check $(shell grep '^uv==' requirements.txt)
	@$(RUN) -m uv pip install --quiet --python $(RUN) -r requirements.txt
	@$(RUN) -m uv pip install --quiet --python $(RUN) --no-deps --no-build-isolation -e handler -e client
	@# So that `python -m tools.…`, training and benchmarks run in any folder.
	@echo "$(CURDIR)" > "$$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/grainserve_checkout.pth"
	@$(RUN) -m tools.selfcheck
	@touch $@

$(ANYWHERE): $(STAMP)
	@echo "$(CURDIR)" > $@

demo: setup ## Measure grains on two images through the whole path, and show tables and pictures
	@$(RUN) -m tools.demo

serve: setup ## Serve MODEL with a GCS emulator until Ctrl-C
	@exec $(RUN) -m tools.stack --model $(MODEL)

test: setup ## Run all tests in two processes: unit, with a real TorchServe and emulator, end to end
	@# One thread each: two processes whose models use all cores would wait for each other.
	@OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder --durations=15 \
		--hypothesis-profile=quick

test-random: setup ## Run the property tests on new random examples, and print the seed (SEED=… repeats a run)
	@seed=$${SEED:-$$($(RUN) -c 'import secrets; print(secrets.randbits(32))')}; \
	echo "Examples of seed $$seed; to repeat them: make test-random SEED=$$seed"; \
	OMP_NUM_THREADS=1 $(RUN) -m pytest tests/unit -m hypothesis --numprocesses 2 --dist worksteal \
		--hypothesis-profile=random --hypothesis-seed=$$seed --quiet

test-faults: setup ## Kill processes at each step, then in 200 random schedules, and audit the bucket (two hours)
	@$(RUN) -m pytest tests/faults -m "long or not long"
	@$(RUN) -m tests.faults.run --schedules 200 --out benchmarks/results/faults.json

fuzz: setup ## Send 100,000 hostile inputs to decoder, gateway and client (10 minutes; a new seed each time)
	@$(RUN) -m tests.fuzz.run --inputs 100000 --out benchmarks/results/fuzz.json

mutants: setup ## Change the most important modules, one thing at a time; the tests must notice (hours; MODULE=, SAMPLE=40)
	@$(RUN) -m tools.mutants $(if $(MODULE),--module $(MODULE)) $(if $(SAMPLE),--sample $(SAMPLE))

sbom: setup ## List each image's contents with their licences: docs/sbom-*.cdx.json (CycloneDX; needs the internet)
	@$(RUN) -m tools.sbom docs

audit: setup ## Look up every package among known vulnerabilities (needs the internet)
	@$(RUN) -m uv tool run --quiet pip-audit --strict --disable-pip --no-deps --requirement requirements.txt

lint: setup ## Check style, format, types and which rooms import which
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(VENV)/bin/lint-imports --no-cache

docs: setup ## Build the documents as a site in site/ (a broken link is an error)
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

format: setup ## Format the code
	@$(RUN) -m ruff check --fix --quiet --exit-zero .
	@$(RUN) -m ruff format .

mar: setup ## Pack model_store/MODEL-VERSION.mar (MODEL=sam_tiny VERSION=1.0)
	@$(RUN) -m tools.mar $(MODEL) --version $(VERSION)

package: setup ## Compile MODEL's image encoder for this processor (MODEL=sam_vit_b PRECISION=auto DEVICE=cpu)
	@$(RUN) -m tools.compile_encoder $(MODEL) --precision $(PRECISION) --device $(DEVICE)

bench: setup ## Measure speed again (an hour; 6 GB of disk, 16 GB of memory)
	@set -e; for name in automask compiled serving vit_h; do \
		echo "== benchmarks/$$name.py"; $(RUN) -m benchmarks.$$name; done

bench-jobs: setup ## Measure the job machinery and half an hour of steady uploads (an hour; run nothing else meanwhile)
	@$(RUN) -m benchmarks.jobs --sustained 30

swap-show: setup ## Swap versions back and forth under load, and count lost requests (15 minutes)
	@$(RUN) -m benchmarks.swap

bench-prompts: setup ## Measure clicks on kept images, beside the obvious design (half an hour; run nothing else meanwhile)
	@$(RUN) -m benchmarks.prompts

bench-scaleout: setup ## Measure one, two and three TorchServes with as many dispatchers (15 minutes; run nothing else meanwhile)
	@$(RUN) -m benchmarks.scaleout

render: setup ## Render deploy/ into deploy/rendered and check it against Kubernetes' schemas (needs kubectl)
	@$(RUN) -m tools.render

accuracy: setup ## Measure accuracy again, and a watershed's beside it (an hour; HTML report)
	@$(RUN) -m benchmarks.accuracy --out benchmarks/results/accuracy.json \
		$(if $(wildcard ../shared/data/grains),--showcase docs/images/accuracy.jpg)

image-test: setup ## Build both images with buildah, and check that a drain loses no request (root; 40 GB, 20 minutes)
	@$(RUN) -m tools.image_test

lock: setup ## Compile requirements.in into requirements.txt
	@$(RUN) -m uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url \
		--output-file requirements.txt requirements.in
	@{ echo '# Compiled from requirements.in by `make lock`; edit that file.'; cat requirements.txt; } > requirements.tmp
	@mv requirements.tmp requirements.txt

clean: ## Remove what runs leave behind: .run, archives, demo output, the site, caches (.venv stays)
	@rm -rf .run demo-output build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@rm -f model_store/*.mar model_store/*.pt2
	@find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
