"""Compares one row of the tables with vLLM's source."""

from fnmatch import filter as fnmatch_filter

from eah_vllm.contract.definition import Definition
from eah_vllm.contract.name import Name
from eah_vllm.contract.source import VllmSource


def difference(name: Name, source: VllmSource) -> tuple[str, str] | None:
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
