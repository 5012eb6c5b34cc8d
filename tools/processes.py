"""A server's processes, and the memory that they take."""

from __future__ import annotations

from pathlib import Path

import psutil


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants; an empty list where it is gone."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(processes: list[psutil.Process]) -> dict[str, float]:
    """Return the MiB that processes take: `pss`, and `own`, which leaves out pages of files.

    A page that several processes share counts in part for each. Other programs may start or cease to share pages of
    files, so `pss` can change while `own` does not.
    """
    found = [_rollup(process.pid) for process in processes]
    return {
        "pss": sum(one["Pss"] for one in found) / 1024,
        "own": sum(one["Pss_Anon"] + one["Pss_Shmem"] for one in found) / 1024,
    }


def _rollup(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}
