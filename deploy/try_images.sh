#!/usr/bin/env bash
# Starts what build_images.sh built, each by its own entry point as its own user, waits by its own health check, and asks
# it for a caption: `make images`.
set -euo pipefail
cd "$(dirname "$0")/.."

WORK=$(realpath "${WORK:-build/images}")
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay} BUILDAH_ISOLATION=chroot
say() { printf '[images] %s\n' "$*"; }
in_store() { buildah --root "$WORK/store" --runroot "$WORK/run" "$@"; }

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

try() {
  local image=$1 port=$2 container config entrypoint health server inner
  shift 2
  container=$(in_store from "$image")
  config=$(in_store inspect --type container "$container")
  mapfile -t entrypoint < <(jq -r '.Docker.config.Entrypoint[]' <<<"$config")
  mapfile -t health < <(jq -r '.Docker.config.Healthcheck.Test[1:][]' <<<"$config")
  say "$image: user $(in_store run "$container" -- id -u):$(in_store run "$container" -- id -g)," \
    "entry point ${entrypoint[*]}, $(du -shx "$(in_store mount "$container")" | cut -f1)"
  in_store config --env "HEALTH_URL=http://127.0.0.1:$port/health" "$container"
  in_store run "$container" -- touch /home/vllm/.cache/huggingface/writable
  in_store run "$container" -- "${entrypoint[@]}" --host 127.0.0.1 --port "$port" "$@" >"$WORK/${image#*:}.log" 2>&1 &
  server=$!
  local waited=0
  until in_store run "$container" -- "${health[@]}" 2>/dev/null; do
    kill -0 "$server" 2>/dev/null && [ $((waited += 1)) -lt 300 ] || { tail -n 40 "$WORK/${image#*:}.log"; return 1; }
    sleep 1
  done
  say "$image: healthy"
  python3 deploy/ask.py "http://127.0.0.1:$port"
  # Only the server: what buildah puts around it would kill it at once.
  inner=$server
  until [[ $(ps -o comm= -p "$inner") =~ ^(python|eah-vllm) ]]; do inner=$(pgrep -P "$inner" | head -n 1); done
  kill -TERM "$inner"
  wait "$server" || say "$image: ended with $?"
  in_store rm "$container" >/dev/null
}
try eah-vllm:cpu "${PORT:-18080}"
try eah-vllm:gpu "${PORT:-18080}"
say "both targets started and answered"
