"""Methods that act on generated rows, compared with what a CPU computed: alone, then all in one batch.

On a GPU their generated rows are replays of CUDA graphs, which were captured before any request had asked for them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.gpu.judging import equal, nearer

FILE = "rows.json"


def cases(folder: Path) -> list[dict[str, Any]]:
    """Return the requests with methods on generated rows; none where the checkpoint's folder has none."""
    file = folder / FILE
    return json.loads(file.read_text()) if file.exists() else []


def compare(engine: Any, every: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], result: Any) -> None:
    """Compare the answers and reports of float32, or see which side those of bfloat16 are on.

    Args:
        engine: a `vllm_engine.Engine` that has all methods enabled.
        every: `cases`.
        others: cases with EAH, which go into the batch with and without it.
        result: a `rows.Result`, whose `content` says the type.
    """
    from bench.gpu.vllm_engine import Request

    exact = result.content["dtype"] == "float32"

    def judge(name: str, asked: Sequence[Any], answers: Sequence[Any]) -> None:
        if exact:
            equal(f"{name} = the reference, first and last token", asked, answers, result)
        else:
            nearer(f"{name}: the answer lies on the reference's side", asked, answers, result)

    requests = [Request(case, on=True, tag=f"rows-{idx}") for idx, case in enumerate(every)]
    alone = [engine.ask([request])[0] for request in requests]
    judge("methods on generated rows", requests, alone)
    batch = [Request(case, on=True, tag=f"row-batch-{idx}") for idx, case in enumerate(every)]
    among = [Request(case, on=idx % 2 == 0) for idx, case in enumerate(others)]
    together = engine.ask([*batch, *among])
    judge("the same in one batch with EAH and plain requests", batch, together[: len(batch)])
    for name, asked in (("alone", requests), ("in one batch", batch)):
        judged = [one for one in asked if exact or one.case["clear"]]
        reported = [(f"{one.tag}-{method}", layers) for one in judged for method, layers in one.case["reports"].items()]
        reports = engine.reports([tag for tag, _ in reported])
        right = sum(_did(report, layers) for report, (_, layers) in zip(reports, reported, strict=True))
        result.row(f"their reports are the reference's, {name}", right, len(reported))


def _did(report: dict[str, Any], layers: Sequence[dict[str, Any]]) -> bool:
    """Whether a method was applied, and did in each layer what the reference says of it."""
    done: list[dict[str, Any]] = report["layers"]
    return bool(report["applied"]) and len(done) == len(layers) and all(map(_holds, done, layers))


def _holds(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return found | expected == found
