"""Compares what this package uses of vLLM with the installed vLLM, and gives one readable error before anything runs.

vLLM promises nothing about most of these names. A missing name would show up as a traceback from deep inside an
engine, and a hook that vLLM no longer calls would not show up at all: requests would be answered without EAH.
"""

import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import filter as fnmatch_filter

from eah_vllm.contract.definition import Definition
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
    return [Broken(name, *difference) for name in names if (difference := _difference(name, source)) is not None]


def verdict(broken: Sequence[Broken], version: str) -> str:
    """Say what is wrong, one line for each name, and what to do about it."""
    lines = [f"eah_vllm {__version__} does not fit the installed vLLM {version}:", *(f"- {item}" for item in broken)]
    way_out = f"Supported is vllm{supported_range()}. Install one that fits, or run plain vLLM with EAH_DISABLE=1."
    return "\n".join([*lines, way_out])


def check(names: Sequence[Name]) -> None:
    """Refuse to run on a vLLM that is not as expected; warn about a version that nobody has tried.

    Raises:
        ContractError: the installed vLLM differs; the message names every difference.
    """
    source = installed()
    version = installed_version(source)
    broken = broken_names(names, source)
    if broken:
        raise ContractError(verdict(broken, version))
    if not _is_supported(version):
        logging.getLogger("vllm.eah").warning(
            "EAH: vLLM %s is not one of the tested %s; every name that EAH uses is there.", version, supported_range()
        )


def _is_supported(version: str) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and SUPPORTED[0] <= (int(numbers[1]), int(numbers[2])) < SUPPORTED[1]


def _difference(name: Name, source: VllmSource) -> tuple[str, str] | None:
    """Return what was expected and what is there, None when they agree."""
    if not source.has_module(name.module):
        return "this name", f"no module {name.module}"
    found = source.find(name.module, name.name)
    if found is None:
        return "this name", "nothing of this name"
    expected = (
        _call_difference(name, found, source)
        or _override_difference(name, found)
        or _member_difference(name, found, source)
    )
    if expected is not None:
        return expected
    unread = set(name.reads.split()) - found.mentions() if name.reads else set()
    if unread:
        return f"code that mentions {' and '.join(sorted(unread))}", "none"
    if name.code and name.code not in found.code():
        return f"code with {name.code}", "none"
    if name.equals is not None and found.constant() != name.equals:
        return repr(name.equals), repr(found.constant())
    return None


def _call_difference(name: Name, found: Definition, source: VllmSource) -> tuple[str, str] | None:
    if name.awaited and not found.is_async:
        return "async def", "none"
    if name.calls is None:
        return None
    function = source.member(found, "__init__") or found
    if not function.is_function:
        return "a function", "none"
    parameters = function.parameters()
    names = [parameter.name for parameter in parameters]
    given = _listed(name.calls)
    stars = [arg for arg in given if arg.startswith("*")]
    by_keyword = [arg.removesuffix("=") for arg in given if arg.endswith("=")]
    by_position = [arg for arg in given if not arg.endswith("=") and arg not in stars]
    fits = [parameter.name for parameter in parameters if parameter.by_position][: len(by_position)] == by_position
    fits = fits and set(stars) <= set(names)
    fits = fits and (set(by_keyword) <= set(names) or any(item.startswith("**") for item in names))
    lacking = [item.name for item in parameters if item.required and item.name not in by_position + by_keyword]
    if fits and not lacking:
        return None
    also = f", which also needs {' and '.join(lacking)}" if lacking else ""
    return f"that it can be called as ({name.calls})", f"({', '.join(names)}){also}"


def _override_difference(name: Name, found: Definition) -> tuple[str, str] | None:
    if name.overrides is None:
        return None
    if not found.is_function:
        return "a method", "none"
    expected = _listed(name.overrides)
    names = [parameter.name for parameter in found.parameters()]
    same = names[: len(expected) - 1] == expected[:-1] if expected[-1:] == ["..."] else names == expected
    return None if same else (f"the parameters ({name.overrides})", f"({', '.join(names)})")


def _listed(arguments: str) -> list[str]:
    return [arg.strip() for arg in arguments.split(",") if arg.strip()]


def _member_difference(name: Name, found: Definition, source: VllmSource) -> tuple[str, str] | None:
    for field in name.fields.split():
        member = source.member(found, field)
        if member is None or member.is_function:
            return f"an attribute {field}", "none" if member is None else f"a method {field}"
    pattern, _, allowed = name.closed.partition(":")
    members = set(fnmatch_filter(source.member_names(found), pattern)) if pattern else set()
    if members != set(allowed.split()):
        return f"{pattern} to be {allowed.strip()}", " ".join(sorted(members)) or "none"
    return None


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
