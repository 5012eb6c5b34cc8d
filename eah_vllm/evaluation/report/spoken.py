"""Settings in words, as a person would say them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eah_vllm.evaluation.ask.setting import Setting
from eah_vllm.evaluation.ask.verify_options import spell_verify
from eah_vllm.evaluation.report.tables import MINUS


def spoken(setting: Setting) -> str:
    """Describe a setting as a person would."""
    said = _spoken_options(setting.eah or {}, len(setting.asked))
    if setting.verify is not None:
        return _spoken_verify(setting, said)
    if setting.methods:
        return _spoken_methods(setting, said)
    said += [f"model {setting.model}"] if setting.model else []
    said += [f"end of text {setting.end_bias:+g}".replace("-", MINUS)] if setting.end_bias else []
    if setting.eah is not None:
        return f"EAH: {', '.join(said)}" if said else "EAH on"
    return ", ".join(said if setting.model else ["off", *said])


def _spoken_options(options: Mapping[str, Any], draws: int) -> list[str]:
    said = []
    for name, value in options.items():
        if name == "relative_threshold":
            said.append(f"threshold {value:g}/S")
        elif name == "head" and isinstance(value, str):
            said.append(f"{value} head" + (f", {draws} draws" if draws > 1 else ""))
        elif name == "seed":
            said.append(f"draw {value}")
        elif isinstance(value, list):
            said.append(f"{name if name.endswith('s') else name + 's'} {', '.join(map(str, value))}")
        else:
            said.append(f"{name.replace('_', ' ')} {value}")
    return sorted(said, key=lambda part: ("layer" not in part, "threshold" not in part))


def _spoken_methods(setting: Setting, eah: Sequence[str]) -> str:
    named = [] if setting.eah is None else [("EAH", eah)]
    named += [(name.upper(), _spoken_options(options, 1)) for name, options in setting.methods.items()]
    said = [name + (f": {', '.join(options)}" if options else "") for name, options in named]
    said += [f"{len(setting.asked)} draws"] if len(setting.asked) > 1 else []
    said += [f"model {setting.model}"] if setting.model else []
    said += [f"end of text {setting.end_bias:+g}".replace("-", MINUS)] if setting.end_bias else []
    return "; ".join(said)


def _spoken_verify(setting: Setting, eah: Sequence[str]) -> str:
    with_eah = "" if setting.eah is None else f"EAH{': ' if eah else ''}{', '.join(eah)}; "
    with_eah += "".join(f"{name.upper()}; " for name in setting.methods)
    options = [part.replace("=", " ").replace("_", " ") for part in spell_verify(setting.verify or {})]
    said = f"{with_eah}checked{': ' if options else ''}{', '.join(options)}"
    if setting.removal:
        number = f", {len(setting.asked)} draws" if len(setting.asked) > 1 else ""
        said = f"as many objects removed at random as by “{said}”{number}"
    said += f", model {setting.model}" if setting.model else ""
    return said + (f", end of text {setting.end_bias:+g}".replace("-", MINUS) if setting.end_bias else "")
