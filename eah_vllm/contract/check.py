"""Compares what this package uses of vLLM with the installed vLLM, and gives one readable error before anything runs.

vLLM promises nothing about most of these names. A missing name would show up as a traceback from deep inside an
engine, and a hook that vLLM no longer calls would not show up at all: requests would be answered without EAH.
"""

import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from eah_vllm.contract.difference import difference
from eah_vllm.contract.name import Name
from eah_vllm.contract.source import VllmSource, installed
from eah_vllm.version import __version__

SUPPORTED = ((0, 32), (0, 34))
"""The first version of vLLM that is supported, and the first one that is not; `pyproject.toml` says the same."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A name of vLLM that is not as expected."""

    name: Name
    expected: str
    found: str

    def __str__(self) -> str:
        of = f", {self.name.part}" if self.name.part else ""
        return f"{self.name}: expected {self.expected}, found {self.found} (used for: {self.name.why}{of})"


class ContractError(RuntimeError):
    """The installed vLLM is not one that this package can work with."""


def supported_range() -> str:
    """Return the supported versions in the form of a package requirement."""
    (first, next_), (below, below_next) = SUPPORTED
    return f">={first}.{next_},<{below}.{below_next}"


def installed_version(source: VllmSource) -> str:
    """Return the version of the vLLM whose source this is, "unknown" if the source does not say."""
    value = source.find("vllm._version", "__version__")
    return value.constant() or "unknown" if value is not None else "unknown"


def broken_names(names: Sequence[Name], source: VllmSource) -> list[Broken]:
    """Return the names that are not as expected."""
    return [Broken(name, *found) for name in names if (found := difference(name, source)) is not None]


def verdict(broken: Sequence[Broken], version: str) -> str:
    """Say what is wrong, one line for each name, and what to do about it."""
    lines = [f"eah_vllm {__version__} does not fit the installed vLLM {version}:", *(f"- {item}" for item in broken)]
    way_out = f"Supported is vllm{supported_range()}. Install one that fits, or run plain vLLM with EAH_DISABLE=1."
    return "\n".join([*lines, way_out])


def check(names: Sequence[Name]) -> None:
    """Compare every name with the installed vLLM, which takes about a second of CPU.

    Raises:
        ContractError: the installed vLLM differs; the message names every difference.
    """
    source = installed()
    broken = broken_names(names, source)
    if broken:
        raise ContractError(verdict(broken, installed_version(source)))


@cache
def check_at_start(names: tuple[Name, ...]) -> None:
    """Refuse to run on a vLLM that would take EAH's answers or protections away unnoticed; this takes little time.

    Of a supported version, `needed_at_start` are compared: whatever else has changed raises an error where it is used.
    Nobody has tried other versions, so there every name is compared.

    Raises:
        ContractError: the installed vLLM differs; the message names every difference.
    """
    source = installed()
    version = installed_version(source)
    if _is_supported(version):
        check(needed_at_start(names))
        return
    check(names)
    logging.getLogger("vllm.eah").warning(
        "EAH: vLLM %s is not one of the tested %s; every name that EAH uses is there.", version, supported_range()
    )


def needed_at_start(names: Sequence[Name]) -> list[Name]:
    """Return the hooks that we override or call, and what would be silent, without those of another platform."""
    left_out = {"CPU": "GPU", "GPU": "CPU"}.get(_platform() or "")
    hooks = (name for name in names if name.silent or name.overrides is not None or name.calls is not None)
    return [name for name in hooks if name.part != left_out]


def _platform() -> str | None:
    """Return the platform that vLLM runs on; None where vLLM is not loaded yet, which is left to others."""
    platforms = sys.modules.get("vllm.platforms")
    if platforms is None:
        return None
    return "CPU" if platforms.current_platform.is_cpu() else "GPU"


def _is_supported(version: str) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and SUPPORTED[0] <= (int(numbers[1]), int(numbers[2])) < SUPPORTED[1]


def main(names: Sequence[Name]) -> None:
    """Print the verdict for the installed vLLM; exit status 1 if it is broken."""
    source = installed()
    version, broken = installed_version(source), broken_names(names, source)
    parts = {part: sum(name.part == part for name in names) for part in ("V1", "V2", "CPU", "GPU")}
    counts = ", ".join(f"{number} only for {part}" for part, number in parts.items())
    sys.stdout.write(f"vLLM {version}, supported {supported_range()}\n")
    sys.stdout.write(f"{len(names)} names checked in vLLM's source ({counts}), none left out\n")
    sys.stdout.write(f"{verdict(broken, version) if broken else 'all as expected'}\n")
    sys.exit(1 if broken else 0)
