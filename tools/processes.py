"""A server's processes, and the memory that they take."""

from __future__ import annotations

from pathlib import Path

import psutil


def family(pid: int) -> list[psutil.Process]:
    """A process and all under it; none where it is gone."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(processes: list[psutil.Process]) -> dict[str, float]:
    """MiB: `pss`, and `own`, that is without pages of files, which other programs share or cease to.

    A page that several processes share counts in part for each.
    """
    found = [_rollup(process.pid) for process in processes]
    return {
        "pss": sum(one["Pss"] for one in found) / 1024,
        "own": sum(one["Pss_Anon"] + one["Pss_Shmem"] for one in found) / 1024,
    }


def _rollup(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}
