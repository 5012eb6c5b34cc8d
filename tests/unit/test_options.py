"""The flat form of the options: what any caller of an engine may write there."""

from __future__ import annotations

from typing import Any

import pytest

from eah_vllm import options as schemas
from eah_vllm import wire
from eah_vllm.options import EAHOptions, OptionError
from eah_vllm.settings import ModelShape, resolve


def from_extra_args(flat: dict[str, Any]) -> tuple[EAHOptions, str | None] | None:
    return wire.from_extra_args(flat, "eah", EAHOptions)


def to_extra_args(options: EAHOptions, tag: str | None = None) -> dict[str, Any]:
    return wire.to_extra_args("eah", options, tag)


def parse_options(fields: dict[str, Any]) -> EAHOptions:
    return schemas.parse_options(fields, "eah.", EAHOptions)


def test_there_and_back() -> None:
    options = EAHOptions(layer=[0, 2], relative_threshold=1.5, report=True)
    assert from_extra_args({"other": 1, **to_extra_args(options, "mine")}) == (options, "mine")


@pytest.mark.parametrize("tag", [[1], {}, 5, "", "x" * 129], ids=repr)
def test_a_tag_is_a_short_string(tag: Any) -> None:
    """The worker looks reports up by it: a list there once ended the engine."""
    with pytest.raises(OptionError, match="eah_tag: must be a string of 1 to 128 characters"):
        from_extra_args({"eah": 1, "eah_report": 1, "eah_tag": tag})


def test_a_refusal_does_not_repeat_megabytes() -> None:
    with pytest.raises(OptionError) as refusal:
        from_extra_args({"eah": 1, "eah_head": "x" * 10_000_000})
    assert len(str(refusal.value)) < 500


WRONG_TYPES: list[tuple[str, Any]] = [
    *[("report", value) for value in ("yes", "true", 1, 0, 1.0, [], {})],
    *[("layer", value) for value in ("2", 2.0, True, [1, "2"], [1, 2.0], [True], {"a": 1})],
    *[("threshold", value) for value in ("0.1", True, [0.1])],
    *[("relative_threshold", value) for value in ("2", True)],
    *[("min_density", value) for value in ("0.5", False)],
    *[("head", value) for value in ("2", 2.0, True, ["auto"])],
    *[("preset", value) for value in (1, True, ["paper"])],
]


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES, ids=lambda part: str(part))
def test_the_typed_form_takes_the_types_of_json_exactly(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"^eah.{name}: .*got "):
        parse_options({name: value})


def test_a_number_without_a_fraction_is_a_number() -> None:
    options = parse_options({"relative_threshold": 2, "min_density": 0, "layer": [0, 2], "head": 1, "report": True})
    assert (options.relative_threshold, options.min_density, options.layer, options.head) == (2.0, 0.0, [0, 2], 1)


@pytest.mark.parametrize(
    ("flat", "options"),
    [
        ({"eah_layer": "2"}, EAHOptions(layer=2)),
        ({"eah_layer": ["0", 2]}, EAHOptions(layer=[0, 2])),
        ({"eah_threshold": "0.1"}, EAHOptions(threshold=0.1)),
        ({"eah_threshold": "1e-3"}, EAHOptions(threshold=0.001)),
        ({"eah_relative_threshold": "3"}, EAHOptions(relative_threshold=3.0)),
        ({"eah_head": "5"}, EAHOptions(head=5)),
        ({"eah_head": "sparsest"}, EAHOptions(head="sparsest")),
        ({"eah_preset": "paper"}, EAHOptions(preset="paper")),
        *[({"eah_report": value}, EAHOptions(report=True)) for value in (1, True, "1", "true")],
        *[({"eah_report": value}, EAHOptions(report=False)) for value in (0, False, "0", "false")],
    ],
    ids=str,
)
def test_the_flat_form_takes_numbers_in_texts_and_switches_in_numbers(
    flat: dict[str, Any], options: EAHOptions
) -> None:
    for on in (1, True, "1", "true"):
        assert from_extra_args({"eah": on, **flat}) == (options, None)
    for off in (0, False, "0", "false"):
        assert from_extra_args({"eah": off, **flat}) is None


@pytest.mark.parametrize(
    "flat",
    [
        {"eah_report": "yes"},
        {"eah_report": 2},
        {"eah_report": 1.0},
        {"eah_layer": "two"},
        {"eah_layer": "2.0"},
        {"eah_layer": 2.0},
        {"eah_layer": "1_0"},
        {"eah_layer": "[1, 2]"},
        {"eah_layer": "true"},
        {"eah_threshold": "NaN"},
        {"eah_threshold": "1e400"},
        {"eah_threshold": "9" * 100_000},
        {"eah_preset": 1},
    ],
    ids=lambda flat: str(flat)[:40],
)
def test_the_flat_form_takes_nothing_else(flat: dict[str, Any]) -> None:
    (name,) = flat
    with pytest.raises(OptionError, match=f"^{name}: "):
        from_extra_args({"eah": 1, **flat})


@pytest.mark.parametrize("switch", [1.0, 2, "yes", "True", None, [1], {}], ids=str)
def test_the_switch_of_the_flat_form_is_true_or_false(switch: Any) -> None:
    with pytest.raises(OptionError, match=r"^eah: must be true or false"):
        from_extra_args({"eah": switch})


def test_a_draw_has_no_sense_without_a_random_head() -> None:
    for head in ({}, {"eah_head": "auto"}, {"eah_head": 3}):
        with pytest.raises(OptionError, match='eah_seed: must stand beside head: "random", which alone draws, got 3'):
            from_extra_args({"eah": 1, "eah_seed": 3, **head})
    for seed in (-1, 2**32, 1.5, True):
        with pytest.raises(OptionError, match=r"eah_seed: .*, got"):
            from_extra_args({"eah": 1, "eah_head": "random", "eah_seed": seed})
    options = EAHOptions(head="random", seed=2**32 - 1)
    assert from_extra_args(to_extra_args(options)) == (options, None)


def test_a_draw_belongs_to_the_head_beside_it() -> None:
    server = EAHOptions(layer=1, head="random", seed=4)
    assert EAHOptions(threshold=0.1).over(server) == EAHOptions(layer=1, head="random", seed=4, threshold=0.1)
    assert EAHOptions(head="auto").over(server) == EAHOptions(layer=1, head="auto")
    assert EAHOptions(head="random").over(server) == EAHOptions(layer=1, head="random")


def test_every_draw_has_a_cache_of_its_own() -> None:
    """The KV of later layers depends on the head."""
    asked = [EAHOptions(head="random", seed=seed) for seed in (0, 1)] + [EAHOptions(), EAHOptions(head="random")]
    prints = [resolve(options, EAHOptions(), ModelShape(4, 8)).fingerprint() for options in asked]
    assert len(set(prints)) == 3
    assert prints[0] == prints[3], "the seed is 0 by default"
