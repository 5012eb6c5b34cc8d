#!/usr/bin/env bash
# The check on a machine with a GPU and no network: run.sh [PHASE ...] [--rehearse]; README.md beside it says more.
# It unpacks the package once, then `python -m bench.gpu` runs the phases. What comes back is in OUT: two files.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
package=${PACKAGE:-$here}
[ -f "$package/manifest.json" ] || package=$(cd "$here/../.." && pwd)/build/gpu
[ -f "$package/manifest.json" ] || { echo "no package in $package: make gpu-package" >&2; exit 2; }
export WORK=${WORK:-$package-run} PYTHONUNBUFFERED=1
export OUT=${OUT:-$WORK/out}
STARTED=${STARTED:-$(date +%s)}
export STARTED
python=${PYTHON:-python3}
say() { echo "[$(($(date +%s) - STARTED)) s] $*"; }

parts="project checkpoints vllm site"
case " $* " in *" --rehearse "*) [ -n "${FAKE_GPU:-}" ] || parts="project checkpoints" ;; esac
mkdir -p "$WORK" "$OUT"
for part in $parts; do
	# What an older package left is unpacked anew.
	cmp -s "$package/manifest.json" "$WORK/$part.manifest" && continue
	rm -rf "${WORK:?}/$part" "$WORK/results" "$WORK/phases.json"
	"$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter="data")' \
		"$package/$part.tar.xz" "$WORK/$part" && cp "$package/manifest.json" "$WORK/$part.manifest" &
done
wait
for part in $parts; do
	cmp -s "$package/manifest.json" "$WORK/$part.manifest" || { echo "$part was not unpacked" >&2; exit 2; }
done
say unpacked
cd "$WORK/project"
path=$WORK/project:$WORK/project/server
case $parts in *vllm*)
	[ -f "$WORK/vllm/.compiled" ] || "$python" -m compileall -q -j 0 "$WORK/vllm" "$WORK/site" . >"$WORK/compileall.log" 2>&1 || true
	touch "$WORK/vllm/.compiled"
	say compiled
	path=$WORK/site:$WORK/vllm:$path
	# vLLM's sampler else wants FlashInfer, which is not packed.
	export VLLM_USE_FLASHINFER_SAMPLER=0
	;;
*) export TRITON_INTERPRET=1 VLLM_USE_V2_MODEL_RUNNER=1 ;; # as tests run Model Runner V2 without a GPU
esac
export PYTHONPATH=$path${PYTHONPATH:+:$PYTHONPATH}
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 VLLM_HOST_IP=127.0.0.1 TOKENIZERS_PARALLELISM=false
export VLLM_CACHE_ROOT=$WORK/cache TRITON_CACHE_DIR=$WORK/triton
exec "$python" -m bench.gpu "$@"
