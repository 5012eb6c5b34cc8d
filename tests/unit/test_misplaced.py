"""Bodies that name EAH where nobody reads it, and bodies that may name whatever they like."""

from __future__ import annotations

from typing import Any

import pytest
from eah_vllm_server.misplaced import refuse_misplaced
from vllm.exceptions import VLLMValidationError

SCHEMA = {"type": "object", "properties": {"eah": {"type": "string"}, "eah_layer": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("fields", "path", "advice"),
    [
        ({"extra_body": {"eah": True}}, "extra_body.eah", "an argument of the openai client"),
        ({"extra_body": {"eah": False}}, "extra_body.eah", "at the top level of the body"),
        ({"extra_body": {"eah_layer": 1}}, "extra_body.eah_layer", "an argument of the openai client"),
        ({"extra_body": {"vllm_xargs": {"eah": 1}}}, "extra_body.vllm_xargs", "an argument of the openai client"),
        ({"extra_body": {"extra_body": {"eah": 1}}}, "extra_body.extra_body.eah", "an argument of the openai client"),
        ({"extra_body": {"metadata": {"eah": "1"}}}, "extra_body.metadata.eah", "an argument of the openai client"),
        ({"eah_layer": 2}, "eah_layer", 'in "eah": {"layer": 1'),
        ({"eah_report": True}, "eah_report", "EAH is not read here"),
        ({"EAH": True}, "EAH", "send the field eah at the top level"),
        ({"Eah_Layer": 1}, "Eah_Layer", "send the field eah at the top level"),
        ({"metadata": {"eah": "true"}}, "metadata.eah", "send the field eah at the top level"),
        ({"chat_template_kwargs": {"eah_layer": 1}}, "chat_template_kwargs.eah_layer", "send the field eah"),
        ({"mm_processor_kwargs": {"eah": {"layer": 1}}}, "mm_processor_kwargs.eah", "send the field eah"),
        ({"extra_args": {"eah": 1}}, "extra_args.eah", "send the field eah at the top level"),
        ({"sampling_params": {"extra_args": {"eah": 1}}}, "sampling_params.extra_args.eah", "send the field eah"),
        ({"eah": {"layer": 1}, "eah_layer": 1}, "eah_layer", "EAH is not read here"),
        ({"Verify": True}, "Verify", "send the field verify at the top level"),
        ({"verify_threshold": 0.5}, "verify_threshold", 'in "verify": {"action": "report"}'),
        ({"vllm_xargs": {"eah": 1, "verify": 1}}, "vllm_xargs.verify", "a check is not asked for here"),
        ({"extra_body": {"verify": True}}, "extra_body.verify", "an argument of the openai client"),
        ({"metadata": {"verify": "true"}}, "metadata.verify", "send the field verify at the top level"),
        ({"verify": True, "verify_n": 4}, "verify_n", "a check is not asked for here"),
    ],
    ids=str,
)
def test_a_misplaced_name_is_refused(fields: dict[str, Any], path: str, advice: str) -> None:
    with pytest.raises(VLLMValidationError) as refused:
        refuse_misplaced({"model": "m", "messages": [], **fields})
    assert str(refused.value).startswith(f"{path}: ")
    assert advice in str(refused.value)
    assert refused.value.parameter == path


@pytest.mark.parametrize(
    "fields",
    [
        {"eah": True},
        {"verify": {"threshold": 0.5}},
        {"verify_ssl": True},  # no option of a check
        {"tools": [{"verify": True}], "messages": [{"verify": True}]},
        {"eah": {"layer": 1, "eah_layer": 1}},  # refused by name where the options are read
        {"vllm_xargs": {"eah": 1, "eah_layer": 1}},
        {"extra_body": {"top_k": 5}},  # vLLM ignores it, EAH or not
        {"extra_body": "eah"},
        {"metadata": {"user": "eah", "cheetah": "eah_layer"}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "eah", "eah": 1}], "eah_layer": 1}]},
        {"tools": [{"type": "function", "function": {"name": "eah", "parameters": SCHEMA}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "eah", "schema": SCHEMA}}},
        {"structured_outputs": {"json": SCHEMA}},
        {"text": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"logit_bias": {"5": 1}},
    ],
    ids=str,
)
def test_everything_else_is_left_alone(fields: dict[str, Any]) -> None:
    assert refuse_misplaced(fields) is fields


@pytest.mark.parametrize("fields", [None, [], "eah", 5], ids=str)
def test_what_is_no_object_is_left_to_whoever_reads_it(fields: Any) -> None:
    assert refuse_misplaced(fields) is fields


def test_a_refusal_does_not_repeat_megabytes() -> None:
    with pytest.raises(VLLMValidationError) as refused:
        refuse_misplaced({"eah_" + "x" * 10_000_000: 1})
    assert len(str(refused.value)) < 500
    assert len(refused.value.parameter or "") < 200
