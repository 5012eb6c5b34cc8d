#!/usr/bin/env bash
# Builds both targets of the Dockerfile where no container engine runs: `make images`. Options go to buildah.
#
# The builder is a real one (buildah, in a chroot). The two base images cannot be fetched without a registry, so Debian
# stands in for them: bookworm with its Python 3.11 for python:3.11-slim-bookworm, and the CPU image's own vLLM with uv
# and a Python that wants --break-system-packages for vllm/vllm-openai. docs/containers.md says what that leaves open.
#
# Needs root, and Debian's packages buildah, debootstrap and jq. Leaves nothing behind but WORK, where the base is kept.
set -euo pipefail
cd "$(dirname "$0")/.."

WORK=${WORK:-build/images}
mkdir -p "$WORK"
WORK=$(realpath "$WORK")
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay} BUILDAH_ISOLATION=chroot
say() { printf '[images] %s\n' "$*"; }
in_store() { buildah --root "$WORK/store" --runroot "$WORK/run" "$@"; }
build() { in_store build --format docker --layers "$@"; }

for tool in buildah debootstrap jq; do
  command -v "$tool" >/dev/null || { say "needs $tool: apt-get install buildah debootstrap jq"; exit 2; }
done

if [ ! -e "$WORK/base/.ready" ]; then
  say "Debian bookworm with Python 3.11, in place of python:3.11-slim-bookworm"
  rm -rf "$WORK/base"
  debootstrap --variant=minbase --include=ca-certificates,python3-pip,python3-dev,python-is-python3 bookworm "$WORK/base" \
    >"$WORK/debootstrap.log"
  rm "$WORK"/base/usr/lib/python3.11/EXTERNALLY-MANAGED  # python:3.11-slim has none
  rm -rf "$WORK"/base/var/cache/apt/archives/*.deb
  touch "$WORK/base/.ready"
fi
printf 'FROM scratch\nADD . /\nENV PIP_ROOT_USER_ACTION=ignore\nCMD ["python3"]\n' >"$WORK/base.Dockerfile"
build --quiet --tag python-stand-in --file "$WORK/base.Dockerfile" "$WORK/base"

say "target cpu"
build "$@" --build-arg CPU_BASE=localhost/python-stand-in --target cpu --tag eah-vllm:cpu .

say "target gpu, on the CPU image without this package, in place of vllm/vllm-openai"
cat >"$WORK/vllm.Dockerfile" <<'END'
FROM localhost/eah-vllm:cpu
USER 0
RUN pip uninstall --yes eah-vllm && pip install --no-cache-dir uv && touch /usr/lib/python3.11/EXTERNALLY-MANAGED
ENTRYPOINT ["false"]
END
build "$@" --tag vllm-stand-in --file "$WORK/vllm.Dockerfile" .
build "$@" --build-arg CPU_BASE=localhost/python-stand-in --build-arg GPU_BASE=localhost/vllm-stand-in \
  --target gpu --tag eah-vllm:gpu .
