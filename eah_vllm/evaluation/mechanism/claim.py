"""The paper's first claim, measured on a served model: do pictures with denser vision sinks hallucinate less?

`python -m eah_vllm.evaluation.mechanism --base-url URL --model NAME --n 200 --out DIR` asks the server's inspector for
the vision sinks of every layer and head over unseen scenes, and correlates, per layer, the share of sinks of a picture
with what the caption written without EAH hallucinates (arXiv 2411.09968, section 3).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eah_vllm.evaluation.ask.asking import AskError, Server
from eah_vllm.evaluation.ask.inspection import InspectError
from eah_vllm.evaluation.ask.setting import OFF
from eah_vllm.evaluation.count.correlation import Correlation, partial_spearman, point_biserial, spearman
from eah_vllm.evaluation.count.summary import NO_DIFFERENCE
from eah_vllm.evaluation.mechanism.sink_counts import Seen, look
from eah_vllm.evaluation.task import Answer
from eah_vllm.evaluation.tasks.scenes import ScenesTask

NO_CORRELATION = NO_DIFFERENCE.replace("difference", "correlation")


def measure(task: ScenesTask, seen: Seen) -> dict[str, Any]:
    """Correlate the share of sinks per layer with hallucination; `seen` is what `look` returned for the task."""
    units = list(seen.captions)
    captions = [q for q in task.questions() if q.group == "caption" and q.unit in seen.captions]
    tally = next(iter(task.tallies({q.id: Answer(seen.captions[q.unit]) for q in captions}).values()))
    assert list(tally.units) == units, "captions and pictures are in different orders"
    column = {name: tally.counts[:, number] for number, name in enumerate(tally.columns)}
    found = []
    for (name, threshold), sinks in zip(seen.thresholds.items(), seen.sinks, strict=True):
        density = sinks / seen.image_tokens  # `[pictures, layers, heads]`
        over_heads = {"densest head": density.max(axis=2), "mean over heads": density.mean(axis=2)}
        found.append(
            {
                "name": name,
                "threshold": threshold,
                "sinks": sinks.mean(axis=0).round(2).tolist(),
                "density": {key: value.mean(axis=0).round(4).tolist() for key, value in over_heads.items()},
                "correlation": {key: _correlations(value, column) for key, value in over_heads.items()},
            }
        )
    return {
        "image_tokens": seen.image_tokens,
        "prompt_tokens": seen.prompt_tokens,
        "n": len(units),
        "chairs": round(100 * float(column["hallucinated"].mean()), 4),
        "thresholds": found,
        "told": told(found),
    }


def _correlations(
    density: npt.NDArray[np.float64], column: Mapping[str, npt.NDArray[np.float64]]
) -> dict[str, list[dict[str, Any] | None]]:
    """Correlate per layer; None where every picture has the same density. `density` is `[pictures, layers]`."""
    named = column["mentions"] > 0
    chairi = column["absent"][named] / column["mentions"][named]
    objects = column["present"][named]
    by_layer = density.T
    return {
        "spearman": [_told(spearman(one[named], chairi)) for one in by_layer],
        # Pictures with more objects have longer captions, and may have more sinks, so this holds the number fixed.
        "spearman_given_objects": [_told(partial_spearman(one[named], chairi, objects)) for one in by_layer],
        "point_biserial": [_told(point_biserial(one, column["hallucinated"])) for one in by_layer],
    }


def _told(found: Correlation | None) -> dict[str, Any] | None:
    if found is None:
        return None
    verdict = NO_CORRELATION if found.low <= 0 <= found.high else "less" if found.value < 0 else "more"
    return {"value": round(found.value, 4), "ci95": [round(found.low, 4), round(found.high, 4)], "verdict": verdict}


def told(found: Sequence[Mapping[str, Any]]) -> str:
    """Say what the rank correlations with CHAIRi mean for the paper's claim, threshold by threshold."""
    parts = []
    for one in found:
        by_layer = one["correlation"]["densest head"]["spearman"]
        said = [
            f"{verdict} in layer {', '.join(layers)}"
            for verdict in ("less", "more")
            if (layers := [str(layer) for layer, each in enumerate(by_layer) if each and each["verdict"] == verdict])
        ]
        told_of = f"they hallucinate {' and '.join(said)}" if said else NO_CORRELATION
        parts.append(f"at {one['name']} {told_of if any(by_layer) else 'every picture has the same number'}")
    return f"Pictures with more vision sinks in a layer's densest head: {'; '.join(parts)}."


def kept_captions(path: Path, task: ScenesTask) -> Mapping[str, str]:
    """Read the captions under EAH off from a run's `answers.jsonl`, by unit; it may also hold other scenes'."""
    units = {question.id: question.unit for question in task.questions() if question.group == "caption"}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        if fields["setting"] == OFF and fields["question"] in units:
            found[units[fields["question"]]] = fields["text"]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Write `mechanism.json` and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m eah_vllm.evaluation.mechanism", description=__doc__)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1", help="server (default %(default)s)")
    parser.add_argument("--model", required=True, help="served model name")
    parser.add_argument("--api-key", default="EMPTY")
    parser.add_argument("--concurrency", type=int, default=8, help="requests in flight (default 8)")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=["test", "val"], default="test")
    parser.add_argument("--relative-threshold", type=float, action="append", help="multiples of 1/S (default 1, 1.5)")
    parser.add_argument("--threshold", type=float, action="append", help="absolute (default 0.002, the paper's)")
    parser.add_argument("--answers", type=Path, help="answers.jsonl of a run over the same scenes: its captions")
    parser.add_argument("--out", type=Path, required=True, help="folder for mechanism.json")
    args = parser.parse_args(argv)
    task = ScenesTask(args.n, args.seed, args.split)
    captions = kept_captions(args.answers, task) if args.answers else {}
    server = Server(args.base_url, args.model, args.api_key, args.concurrency)
    thresholds = {
        "thresholds": args.threshold or [0.002],
        "relative_thresholds": args.relative_threshold or [1.0, 1.5],
    }
    try:
        seen = look(server, task, captions, thresholds)
    except (AskError, InspectError, ValueError) as error:
        sys.stderr.write(f"mechanism: {error}\n")
        return 1
    found = {**task.identity(), "model": args.model, "captions_given": len(captions)} | measure(task, seen)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "mechanism.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(found["told"] + "\n")
    return 0
