#!/usr/bin/env bash
# Resolves the CPU environment anew and writes env/cpu.lock and env/v2.lock: `make lock`.
set -euo pipefail
cd "$(dirname "$0")/.."

TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${PYTHON:-python3.11}" -m venv "$work/venv"
pip="$work/venv/bin/pip"
"$pip" install --quiet '.[cpu,dev]' || "$pip" install --quiet --extra-index-url "$TORCH_CPU_INDEX" '.[cpu,dev]'
"$pip" freeze --all >"$work/all" 2>/dev/null

# Left out: this package; torchaudio and torchcodec (audio and video; the index's are built for CUDA and fail beside CPU
# torch, taking transformers with them); Triton, which V1 does not use on CPU and which goes into the V2 environment.
{
  echo "# Every package of .venv: Python 3.11, Linux x86-64. Made by \`make lock\`; installed with --no-deps."
  grep -vE '^(eah-|pip==|wheel==|torchaudio==|torchcodec==|triton==)' "$work/all" | sort -f
} >env/cpu.lock
{
  echo "# What .venv-v2 has beside .venv. Made by \`make lock\`."
  grep '^triton==' "$work/all"
} >env/v2.lock
wc -l env/cpu.lock env/v2.lock
