"""`make gpu-package`: everything that a GPU machine without a network needs, in `build/gpu/`, under 60 MiB.

    python -m bench.gpu.package [--out FOLDER] [--no-vllm] [--models MODEL ...]

vLLM's own CUDA wheel, reduced; the packages that such a machine lacks; this project as committed (with what is not
committed yet, where there is any); tiny checkpoints with what a CPU computed of them. Downloads stay in
`build/gpu-downloads/`. Without vLLM the package is good for a rehearsal on a CPU.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench.gpu import downloads
from tools import ROOT
from tools.provenance import commit

MOST = 60 << 20
WRITTEN = ("manifest.json", "run.sh", *(f"{part}.tar.xz" for part in ("project", "checkpoints", "vllm", "site")))
ANYBODY = ("-c", "user.name=package", "-c", "user.email=package@localhost")
DOWNLOADS = ROOT / "build" / "gpu-downloads"


def project(target: Path, preset: int) -> str:
    """Write the project's archive, with the commit in a file `COMMIT`, and return the commit."""
    name = commit()
    # What is not committed yet is in the tree of a commit that belongs to no branch; there is none if nothing changed.
    changed = _git(*ANYBODY, "stash", "create").decode().strip() if name.endswith("+dirty") else ""
    archive = _git("archive", "--format=tar", changed or "HEAD")
    with tarfile.open(target, "w:xz", preset=preset) as packed, tarfile.open(fileobj=io.BytesIO(archive)) as given:
        for member in given.getmembers():
            packed.addfile(member, given.extractfile(member) if member.isfile() else None)
        note = tarfile.TarInfo("COMMIT")
        note.size = len(name)
        packed.addfile(note, io.BytesIO(name.encode()))
    return name


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def checkpoints(target: Path, models: list[str]) -> None:
    """Make the tiny checkpoints and their references, all where no model is named."""
    target.mkdir()
    subprocess.run([sys.executable, "-m", "tests.gpu_references", str(target), *models], cwd=ROOT, check=True)


def pack(folder: Path, target: Path, preset: int) -> None:
    """Write the archive of a folder."""
    with tarfile.open(target, "w:xz", preset=preset) as archive:
        archive.add(folder, ".")


def main() -> int:
    """Build the package.

    Returns:
        1 if it is too large.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu")
    parser.add_argument("--no-vllm", action="store_true", help="nothing is downloaded; for rehearsals on a CPU")
    parser.add_argument("--models", nargs="*", default=[], help="only these tiny checkpoints")
    given = parser.parse_args()
    preset = 0 if given.no_vllm else 6  # what does not travel need not be small
    given.out.mkdir(parents=True, exist_ok=True)
    for old in (given.out / name for name in WRITTEN):
        old.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        parts = [Path(folder, "checkpoints")]
        checkpoints(parts[0], given.models)
        if not given.no_vllm:
            parts += [Path(folder, "vllm"), Path(folder, "site")]
            vllm, others = downloads.wheels(DOWNLOADS)
            downloads.unpack_vllm(vllm, parts[1])
            downloads.unpack_others(others, parts[2])
        with ProcessPoolExecutor() as pool:
            list(pool.map(pack, parts, [given.out / f"{part.name}.tar.xz" for part in parts], [preset] * len(parts)))
    manifest = {
        "commit": project(given.out / "project.tar.xz", preset),
        "vllm": None if given.no_vllm else downloads.VLLM,
    }
    shutil.copy(Path(__file__).with_name("run.sh"), given.out)
    sizes = {name: file.stat().st_size for name in WRITTEN if (file := given.out / name).exists()}
    (given.out / "manifest.json").write_text(json.dumps(manifest | {"bytes": sizes}, indent=1) + "\n")
    for name, size in sizes.items():
        print(f"{size / 2**20:6.1f} MiB  {name}")
    total = sum(sizes.values())
    print(f"{total / 2**20:6.1f} MiB of at most {MOST >> 20} in {given.out}, commit {manifest['commit']}")
    return int(total > MOST)


if __name__ == "__main__":
    sys.exit(main())
