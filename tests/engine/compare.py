"""What tests of features compare: an engine's answer with the reference, a report with the reference's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.engine.driver import Answer, Engine
from tests.reference import ReferenceOutput


def assert_equals_reference(got: Answer, expected: ReferenceOutput) -> None:
    assert got.prompt_token_ids == expected.prompt_token_ids
    assert got.tokens[0] == expected.tokens
    for row, expected_row in zip(got.logprobs, expected.logprobs, strict=True):
        assert largest_difference(row, expected_row) < 1e-3


def largest_difference(got: dict[int, float], expected: torch.Tensor) -> float:
    return max(abs(value - float(expected[token])) for token, value in got.items() if value > float("-inf"))


def assert_eah_matters(on: ReferenceOutput, plain: ReferenceOutput) -> None:
    """Without this, a test that EAH was applied could pass with EAH off."""
    assert any(layer.applied for layer in on.report)
    effect = (on.first_token_logprobs - plain.first_token_logprobs).abs().max().item()
    assert effect > 1e-2, "EAH had no effect here"


def assert_reports_reference(report: dict[str, Any], expected: ReferenceOutput, *, reused: bool = False) -> None:
    """`reused`: every head was recorded with the cached prefix."""
    assert report["applied"]
    more = {"reused": True} if reused else {}
    assert report["layers"] == [
        layer.as_report() | {"density": pytest.approx(layer.density)} | more for layer in expected.report
    ]


def report_of(engine: Engine, tag: str) -> dict[str, Any]:
    report: dict[str, Any] = engine.collect(tag)["reports"][tag]
    return report
