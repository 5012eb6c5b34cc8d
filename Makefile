# Everything a newcomer runs. `make serve` and `make test` do all of their own set-up; the second run starts at once.
.DEFAULT_GOAL := help
.PHONY: help env env-v2 serve test soak load fuzz faults eval bench check audit audit-image replicas clients dashboard images \
	serve-lock train-scenes smoke-train lock wheel gpu-package gpu-rehearse clean-env

ARGS ?=
JOBS ?= 3
OUT ?= build/scenes
EVAL_OUT ?= build/eval
EVAL_MODEL ?=
BIN := .venv/bin

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

env: .venv/.ready ## set up .venv: vLLM on CPU, this package, the developer tools

env-v2: .venv-v2/.ready ## set up .venv-v2: Model Runner V2 without a GPU, for tests

serve: env ## serve the built-in model on port 8000; ARGS="MODEL and any option of vllm serve"
	$(BIN)/eah-vllm serve $(ARGS)

test: env env-v2 ## run every test, JOBS=3 files at a time; ARGS="-k name" and the like go to pytest
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

soak: env ## 300 requests of mixed kinds at concurrency 8, every answer compared; ARGS="--requests N --concurrency N --seed N"
	$(BIN)/python -m tests.soak $(ARGS)

load: env ## load tests with every answer judged, a few minutes; ARGS="soak --minutes 30", "--list", "--base-url URL"
	$(BIN)/python -m load_tests $(ARGS)

fuzz: env ## hostile requests and schemathesis against one server; ARGS="--count N --seed N --base-url URL"
	$(BIN)/python -m tests.fuzz $(ARGS)

faults: env ## break a real server in every way of docs/operations.md; ARGS="engine drain" for some
	$(BIN)/python -m tests.faults $(ARGS)

replicas: env ## two servers behind the shipped nginx configuration, one killed under load (needs nginx); ARGS="--requests N"
	$(BIN)/python -m tests.replicas $(ARGS)

clients: env ## run the snippets of docs/clients.md, with LangChain, LlamaIndex and LiteLLM in an environment of their own
	$(BIN)/python -m venv build/clients
	build/clients/bin/pip install --quiet --requirement env/clients.txt
	EAH_CLIENTS_PYTHON=$(CURDIR)/build/clients/bin/python $(BIN)/python -m pytest tests/server/test_pages.py $(ARGS)

eval: env ## hallucination on 1,000 unseen scenes, EAH off, on and controls, into EVAL_OUT=build/eval; of EVAL_MODEL=PATH, else the built-in model
	$(BIN)/python -m tools.beside $(if $(EVAL_MODEL),$(EVAL_MODEL) --config scenes --) $(BIN)/eah-vllm eval scenes --base-url '{base_url}' --model scenes \
		--n 1000 --concurrency 16 --out $(EVAL_OUT) $(ARGS)

bench: env ## time and memory side by side with stock vLLM (half an hour); ARGS="PART ... --runs N --quick"
	$(BIN)/python -m bench $(ARGS)

gpu-package: env ## build/gpu: the check for a machine with a GPU and no network; bench/gpu/README.md says how to run it
	$(BIN)/python -m bench.gpu.package $(ARGS)

gpu-rehearse: env-v2 ## the phases of that check as far as this machine can; needs the package; ARGS="PHASE ..."
	PYTHON=$(CURDIR)/.venv-v2/bin/python bench/gpu/run.sh --rehearse $(ARGS)

check: env ## lint, formatting, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: env ## known vulnerabilities of every package in env/cpu.lock (asks a public advisory service, so it needs the network)
	@mkdir -p build && sed 's/+[a-z0-9.]*$$//' env/cpu.lock >build/audit.txt  # advisories name torch 2.13.0, not 2.13.0+cpu
	$(BIN)/pip-audit --strict --requirement build/audit.txt --no-deps --disable-pip --progress-spinner off $(ARGS)

IMAGE ?= eah-vllm
audit-image: ## known vulnerabilities of the container image IMAGE=eah-vllm, with trivy or grype, whichever is installed
	@if command -v trivy >/dev/null; then trivy image --severity HIGH,CRITICAL --exit-code 1 $(IMAGE); \
	elif command -v grype >/dev/null; then grype $(IMAGE) --fail-on high; \
	else echo "make audit-image needs trivy or grype, and neither is installed"; exit 1; fi

dashboard: env ## every query of the Grafana dashboard against a real Prometheus and server (needs prometheus)
	$(BIN)/python -m tests.dashboard

images: ## build both Docker targets without a container engine, start and ask them (needs root, buildah, debootstrap, jq)
	deploy/build_images.sh $(ARGS)
	deploy/try_images.sh

serve-lock: env ## which lines of env/cpu.lock the CPU image needs, into deploy/serve.lock
	$(BIN)/python deploy/serve_lock.py --write

train-scenes: env ## train the built-in model anew into OUT=build/scenes (half an hour on one core; resumes)
	$(BIN)/python -m eah_vllm.scenes train --out $(OUT) $(ARGS)

smoke-train: env ## prove the training code in two minutes
	$(BIN)/python -m eah_vllm.scenes train --smoke $(ARGS)

lock: ## resolve the environments anew, into env/*.lock
	env/make_lock.sh

wheel: env ## build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean-env: ## remove both environments
	rm -rf .venv .venv-v2

ENV_FILES := env/make_env.sh pyproject.toml $(wildcard env/torchvision_shim/*.*)

.venv/.ready: env/cpu.lock $(ENV_FILES)
	@env/make_env.sh cpu

.venv-v2/.ready: .venv/.ready env/v2.lock $(wildcard env/triton_cpu_stub/*.* env/triton_cpu_stub/*/*.py)
	@env/make_env.sh v2
