#!/usr/bin/env bash
# build.sh PYTHON TARGET: compiles the stand-in CUDA runtime with the headers of that Python's CUDA packages.
set -euo pipefail
python=$1
mkdir -p "$2"
target=$(cd "$2" && pwd)
cd "$(dirname "$0")"
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# The runtime's headers are torch's; what they include of the compiler's comes with Triton.
headers="-I$packages/nvidia/cu13/include -I$packages/triton/backends/nvidia/include"
flags="-O1 -w -shared -fPIC"
gcc $flags $headers -o "$target/libfakecudart.so" memory.c device.c streams.c kernels.c cublas.c -ldl -lpthread
gcc $flags -Wl,-soname,libcuda.so.1 -o "$target/libcuda.so.1" driver.c -ldl
gcc $flags -Wl,-soname,libnvidia-ml.so.1 -o "$target/libnvidia-ml.so.1" nvml.c
cp sitecustomize.py "$target"
