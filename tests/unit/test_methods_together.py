"""Several methods in one request: which may stand together, and which a server has enabled."""

from __future__ import annotations

from typing import Any

import pytest

from eah_vllm.engine import admission
from eah_vllm.engine.admission import check_request, class_name
from eah_vllm.method.registry import METHODS, asked_for, resolve_all
from eah_vllm.options import EAHOptions, InspectOptions, MethodOptions, OptionError
from eah_vllm.settings import ModelShape
from tests.methods.scaled_head import ScaledHead, ScaledHeadOptions

SHAPE = ModelShape(4, 8)
DEFAULTS: dict[str, MethodOptions] = {
    "eah": EAHOptions(layer=1),
    "inspect": InspectOptions(),
    "scaled": ScaledHeadOptions(layer=[2, 3]),
}


@pytest.fixture(autouse=True)
def second_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "scaled", ScaledHead())


def layers(flat: dict[str, Any], defaults: dict[str, MethodOptions] = DEFAULTS) -> dict[str, tuple[int, ...]]:
    resolved = resolve_all(asked_for(flat), defaults, SHAPE, flat=True)
    return {name: settings.layers for name, settings in resolved.items()}


def test_methods_of_one_request_are_found_in_the_order_of_the_registry() -> None:
    assert asked_for({"other": 1}) == ()
    assert [one.method.name for one in asked_for({"scaled": 1, "scaled_head": 2, "eah": "1"})] == ["eah", "scaled"]
    assert [one.options for one in asked_for({"scaled": 1, "eah": 0})] == [ScaledHeadOptions()]
    assert asked_for({"scaled": 1, "scaled_tag": "a", "eah": 1, "eah_tag": "b"})[1].tag == "a"


def test_layers_that_differ_stand_together() -> None:
    assert layers({"scaled": 1, "eah": 1}) == {"eah": (1,), "scaled": (2, 3)}
    assert layers({"scaled": 1, "scaled_layer": [0, 3], "eah": 1, "eah_layer": [1, 2]}) == {
        "eah": (1, 2),
        "scaled": (0, 3),
    }


@pytest.mark.parametrize(
    ("flat", "refusal"),
    [
        (
            {"eah_layer": [0, 2, 3]},
            "scaled: cannot share a decoder layer with eah, got 2, 3 for both; name other layers",
        ),
        ({"eah_layer": 0, "scaled_layer": [0]}, "scaled: cannot share a decoder layer with eah, got 0 for both"),
        ({"scaled_layer": 4}, "scaled_layer: this model has layers 0..3, got 4"),
        ({"inspect": 1}, "inspect: cannot be combined with eah; send one of them"),
    ],
    ids=str,
)
def test_what_excludes_each_other_is_refused(flat: dict[str, Any], refusal: str) -> None:
    with pytest.raises(OptionError) as error:
        layers({"eah": 1, "scaled": 1} | flat)
    assert str(error.value).startswith(refusal)
    assert error.value.field == refusal.partition(":")[0]


def test_a_method_that_is_not_enabled_is_refused_with_the_way_to_enable_it() -> None:
    only = {name: DEFAULTS[name] for name in ("eah", "inspect")}
    assert layers({"eah": 1}, only) == {"eah": (1,)}
    with pytest.raises(OptionError) as error:
        layers({"eah": 1, "scaled": 1}, only)
    advice = """start it with --additional-config '{"eah": {"methods": ["eah", "scaled"]}}' to enable it"""
    assert str(error.value) == f"scaled: is not enabled on this server; {advice}"


class Params:
    def __init__(self, extra_args: dict[str, Any]) -> None:
        self.extra_args = extra_args


@pytest.mark.parametrize("runner", ["V1", "V2"])
def test_admission_knows_the_servers_defaults_by_its_name(runner: str) -> None:
    name = class_name(runner, SHAPE, DEFAULTS | {"eah": EAHOptions(layer=3, relative_threshold=1.25)})
    assert not {":", "."} & set(name), "vLLM would take the name apart there"
    admits: Any = getattr(admission, name)
    assert getattr(admission, name) is admits
    admits.validate_params(Params({"eah": 1, "eah_layer": 0, "scaled": 1}))
    admits.validate_params(Params({}))
    with pytest.raises(OptionError, match=r"scaled: cannot share a decoder layer with eah, got 3"):
        admits.validate_params(Params({"eah": 1, "scaled": 1}))
    fewer: Any = getattr(admission, class_name(runner, SHAPE, {"eah": EAHOptions(layer=3)}))
    with pytest.raises(OptionError, match="scaled: is not enabled"):
        fewer.validate_params(Params({"scaled": 1}))


def test_a_list_of_the_flat_form_stays_a_list() -> None:
    params: Any = Params({"scaled": 1, "scaled_layer": ["0", 3]})
    check_request(params, SHAPE, DEFAULTS)
    with pytest.raises(OptionError, match=r"scaled_layer: .*got '\[0, 3\]'"):
        layers({"scaled": 1, "scaled_layer": "[0, 3]"})
