# Everything a newcomer runs. `make serve` and `make test` do all of their own set-up; the second run starts at once.
.DEFAULT_GOAL := help
.PHONY: help env env-v2 serve test soak eval bench check train-scenes smoke-train lock wheel clean-env

ARGS ?=
JOBS ?= 2
OUT ?= build/scenes
EVAL_OUT ?= build/eval
BIN := .venv/bin

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

env: .venv/.ready ## set up .venv: vLLM on CPU, this package, the developer tools

env-v2: .venv-v2/.ready ## set up .venv-v2: Model Runner V2 without a GPU, for tests

serve: env ## serve the built-in model on port 8000; ARGS="MODEL and any option of vllm serve"
	$(BIN)/eah-vllm serve $(ARGS)

test: env env-v2 ## run every test, JOBS=2 files at a time; ARGS="-k name" and the like go to pytest
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

soak: env ## 300 requests of mixed kinds at concurrency 8, every answer compared; ARGS="--requests N --concurrency N --seed N"
	$(BIN)/python -m tests.soak $(ARGS)

eval: env ## hallucination of the built-in model on 1,000 unseen scenes, EAH off, on and controls, into EVAL_OUT=build/eval
	$(BIN)/python -m eah_vllm_server.beside $(BIN)/eah-vllm eval scenes --base-url '{base_url}' --model scenes \
		--n 1000 --concurrency 16 --out $(EVAL_OUT) $(ARGS)

bench: env ## time and memory side by side with stock vLLM (half an hour); ARGS="PART ... --runs N --quick"
	$(BIN)/python -m bench $(ARGS)

check: env ## lint, formatting, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

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
