"""Methods that act on generated rows (VHR, `clva`), compared with what a CPU computed: alone, then all in one batch.

On a GPU their generated rows are replays of CUDA graphs, which were captured before any request had asked for them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TOLERANCE = 1e-3
FILE = "rows.json"


def cases(folder: Path) -> list[dict[str, Any]]:
    """Return the requests with methods on generated rows; none where the checkpoint's folder has none."""
    file = folder / FILE
    return json.loads(file.read_text()) if file.exists() else []


def compare(engine: Any, every: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], result: Any) -> None:
    """Compare the answers and the chosen heads of float32, or see which side those of bfloat16 are on.

    Args:
        engine: a `vllm_engine.Engine` that has all methods enabled.
        every: `cases`.
        others: cases with EAH, which go into the batch with and without it.
        result: a `rows.Result`, whose `content` says the type.
    """
    from bench.gpu.vllm_engine import Request

    judge = _equal if result.content["dtype"] == "float32" else _nearer
    requests = [Request(case, on=True, tag=f"rows-{idx}") for idx, case in enumerate(every)]
    alone = [engine.ask([request])[0] for request in requests]
    judge("methods on generated rows", requests, alone, result)
    batch = [Request(case, on=True, tag=f"row-batch-{idx}") for idx, case in enumerate(every)]
    among = [Request(case, on=idx % 2 == 0) for idx, case in enumerate(others)]
    together = engine.ask([*batch, *among])
    judge("the same in one batch with EAH and plain requests", batch, together[: len(batch)], result)
    for name, asked in (("alone", requests), ("in one batch", batch)):
        vhr = [one for one in asked if "vhr" in one.case["methods"] and (judge is _equal or one.case["clear"])]
        reports = engine.reports([f"{one.tag}-vhr" for one in vhr])
        right = sum(_heads(report) == one.case["heads"] for report, one in zip(reports, vhr, strict=True))
        result.row(f"VHR chooses the reference's heads, {name}", right, len(vhr))


def _equal(name: str, requests: Sequence[Any], answers: Sequence[Any], result: Any) -> None:
    right, worst = 0, 0.0
    for request, answer in zip(requests, answers, strict=True):
        expected = request.expected()
        difference = max(answer.difference(expected["logprobs"]), answer.difference_at_last(expected["last"]))
        worst = max(worst, difference)
        right += answer.tokens == expected["tokens"] and difference < TOLERANCE
    title = f"{name} = the reference, first and last token"
    result.row(title, right, len(requests), worst=worst, allowed=TOLERANCE)


def _nearer(name: str, requests: Sequence[Any], answers: Sequence[Any], result: Any) -> None:
    clear = [(one, got) for one, got in zip(requests, answers, strict=True) if one.case["clear"]]
    right = sum(
        got.difference(one.case["on"]["logprobs"]) < got.difference(one.case["off"]["logprobs"]) for one, got in clear
    )
    result.row(f"{name}: the answer lies on the reference's side", right, len(clear))


def _heads(report: dict[str, Any]) -> dict[str, list[int]]:
    return {str(layer["layer"]): layer["heads"] for layer in report["layers"]} if report["applied"] else {}
