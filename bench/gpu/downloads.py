"""vLLM's CUDA wheel, reduced, and the packages that the other machine lacks; through pip, as the user configured it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

from bench.gpu.shrink import shrink

VLLM = "0.32.0"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
GLIBC = (39, 35, 34, 31, 28, 27, 26, 24, 17)
"""Minor versions; pip takes a wheel for exactly those platforms that are named."""
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in GLIBC] + ["manylinux2014_x86_64", "manylinux1_x86_64", "any"]
FOR_PYTHON_3_12 = ["--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp"]
FOR_PYTHON_3_12 += [word for platform in PLATFORMS for word in ("--platform", platform)]

WHOLE = {f"vllm/{name}.abi3.so" for name in ("cumem_allocator", "spinloop", "fs_io_C")}
REDUCED = {
    "vllm/_C_stable_libtorch.abi3.so": "",
    "vllm/_moe_C_stable_libtorch.abi3.so": "",
    # bfloat16 and float16, head sizes 64 (CLIP, and smaller ones) and 128 (7B), and what all of them use.
    "vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so": (
        r"cute::C<(64|128)> ?>, \1, cutlass::(bfloat16_t|half_t)|FlashAttnFwdCombine|prepare_varlen"
    ),
}
"""Libraries that are cut down to one chip's code, and which of their kernels are kept (all where empty)."""
THIRD_PARTY = "vllm/third_party/"

ENTRY_POINTS = """\
[vllm.general_plugins]
eah = eah_vllm:register

[vllm.endpoint_plugins]
eah = eah_vllm_server.plugin:EAHEndpointPlugin
"""
METADATA = "Metadata-Version: 2.4\nName: eah-vllm\nVersion: 0.1.0\n"


def pip(*arguments: str) -> None:
    """Run pip; its own messages go to the error stream.

    Raises:
        RuntimeError: pip failed.
    """
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise RuntimeError(f"pip {arguments[0]} failed; what it said is above")


def wheels(cache: Path) -> tuple[Path, list[Path]]:
    """Return vLLM's wheel and the wheels of the other packages, downloaded where they are not in the cache."""
    cache.mkdir(parents=True, exist_ok=True)
    if not list(cache.glob(f"vllm-{VLLM}-*.whl")):
        pip("download", "--no-deps", *FOR_PYTHON_3_12, "--dest", str(cache), f"vllm=={VLLM}")
    (vllm,) = cache.glob(f"vllm-{VLLM}-*.whl")
    others = cache / "others"
    done = others / "requirements.txt"
    if not done.exists() or done.read_text() != REQUIREMENTS.read_text():
        shutil.rmtree(others, ignore_errors=True)
        pip("download", "--no-deps", *FOR_PYTHON_3_12, "--dest", str(others), "--requirement", str(REQUIREMENTS))
        shutil.copy(REQUIREMENTS, done)
    return vllm, sorted(others.glob("*.whl"))


def wanted(name: str) -> bool:
    """Whether a file of vLLM's wheel is taken: not what LLaVA and Qwen do not use, or what torch 2.11 cannot load."""
    if name in WHOLE or name in REDUCED:
        return True
    if name.endswith((".so", "/RECORD")) or name == "vllm/vllm-rs" or name.startswith(THIRD_PARTY + "deep_gemm/"):
        return False
    return not name.startswith(THIRD_PARTY) or name.endswith((".py", ".json"))


def unpack_vllm(wheel: Path, target: Path) -> None:
    """Unpack vLLM's wheel without what is not wanted, its libraries cut down."""
    with zipfile.ZipFile(wheel) as archive:
        missing = (WHOLE | REDUCED.keys()) - set(archive.namelist())
        if missing:
            raise ValueError(f"{wheel.name} lacks {', '.join(sorted(missing))}: it is another build than expected")
        archive.extractall(target, [name for name in archive.namelist() if wanted(name)])
    for name, kernels in REDUCED.items():
        file = target / name
        smaller, kept, total = shrink(file.read_bytes(), kernels)
        file.write_bytes(smaller)
        print(f"{name}: {kept / 2**20:.1f} of {total / 2**20:.1f} MiB of device code kept", flush=True)


def unpack_others(packages: Iterable[Path], target: Path) -> None:
    """Unpack the other packages, without tests and data that nothing here reads, and name the plugin's entry points."""
    for wheel in packages:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target, [name for name in archive.namelist() if "/tests/" not in name])
    for unused in ("mistral_common/data", "pycountry/locales"):
        shutil.rmtree(target / unused)
    (target / "mistral_common" / "data").mkdir()
    # The plugin runs from the unpacked project; this names it to vLLM, as an installation would.
    information = target / "eah_vllm-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(METADATA)
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
