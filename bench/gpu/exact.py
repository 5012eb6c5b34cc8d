"""Phases b and e: the answers of one engine, compared with Hugging Face and with references that a CPU computed.

    python -m bench.gpu.exact FOLDER --dtype bfloat16 --graphs --json RESULT

Float32 must give the reference's tokens, and its log-probabilities within 1e-3. In bfloat16 tokens may differ; where
rounding cannot change who is a vision sink, the report must be the reference's and the answer must lie nearer to it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.gpu.judging import TOLERANCE, equal, nearer

IEEE = {"TRITON_F32_DEFAULT": "ieee", "NVIDIA_TF32_OVERRIDE": "0"}
"""Triton, cuBLAS and cuDNN else multiply float32 as tf32, which is no ground for comparing to 1e-3."""
BATCH = 16


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a checkpoint with cases.json")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), required=True)
    parser.add_argument("--graphs", action="store_true", help="torch.compile and CUDA graphs, as vLLM does by default")
    parser.add_argument("--methods", action="store_true", help="all enabled; compare those on generated rows too")
    parser.add_argument("--stock", action="store_true", help="without the plugin: only answers for a comparison")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cases", type=int, help="only the first ones")
    parser.add_argument("--json", type=Path, required=True)
    return parser.parse_args()


def main() -> int:
    """Start the engine and compare; 1 if something is wrong."""
    given = arguments()
    if given.dtype == "float32":
        os.environ.update(IEEE)
    # The engine is in this process, so that waits can be watched; without the plugin, so that both are alike.
    os.environ.update({"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_PLUGINS": "" if given.stock else "eah"})
    from bench.gpu import row_methods
    from bench.gpu.rows import Result
    from bench.gpu.vllm_engine import Engine

    if not given.stock:
        from bench.gpu import waits

        waits.watch()
    every = json.loads((given.folder / "cases.json").read_text())
    cases = every[: given.cases] if given.cases else every
    modes = {"graphs": given.graphs, "stock": given.stock, "methods": given.methods}
    result = Result(given.json, model=given.folder.name, dtype=given.dtype, **modes)
    enabled = {"additional_config": {"eah": {"methods": "all"}}} if given.methods else {}
    engine = Engine(given.folder, dtype=given.dtype, enforce_eager=not given.graphs, **enabled)
    result.note(**engine.facts())
    checks = Checks(engine, cases, result, exact=given.dtype == "float32")
    result.note(off=checks.off_answers())
    if not given.stock:
        if not given.graphs:
            checks.hugging_face(given.device, given.dtype)
        result.note(on=checks.on_answers())
        checks.mixed_batch()
        on_rows = row_methods.cases(given.folder) if given.methods else []
        if given.methods:
            row_methods.compare(engine, on_rows, cases, result)
        checks.nothing_waits(given.device, on_rows)
    return int(result.failed)


class Checks:
    """The comparisons, in the order in which they say most."""

    def __init__(self, engine: Any, cases: list[dict[str, Any]], result: Any, *, exact: bool) -> None:
        self.engine, self.cases, self.result, self.exact = engine, cases, result, exact
        self.off: list[Any] = []

    def off_answers(self) -> list[dict[str, Any]]:
        """Compare EAH off with the CPU's answers; return them for comparisons between engines, bit for bit."""
        from bench.gpu.vllm_engine import Request

        requests = [Request(case, on=False) for case in self.cases]
        self.off = [self.engine.ask([request])[0] for request in requests]
        if self.exact:
            equal("EAH off = Hugging Face on a CPU", requests, self.off, self.result)
        else:
            nearer("EAH off is nearer to off than to on", requests, self.off, self.result)
        return [{"tokens": answer.tokens, "logprobs": list(answer.logprobs.items())} for answer in self.off]

    def hugging_face(self, device: str, dtype: str) -> None:
        """Compare EAH off with transformers on this device."""
        from bench.gpu.hugging_face import off_answers

        expected = off_answers(self.engine.folder, self.cases, device, dtype)
        worst = [got.difference(other["logprobs"]) for got, other in zip(self.off, expected, strict=True)]
        same = [got.tokens == other["tokens"] for got, other in zip(self.off, expected, strict=True)]
        if self.exact:
            right = sum(one and size < TOLERANCE for one, size in zip(same, worst, strict=True))
            self.result.row(
                "EAH off = Hugging Face on this device", right, len(same), worst=max(worst), allowed=TOLERANCE
            )
        else:
            self.result.note(hugging_face={"largest_difference": max(worst), "same_tokens": sum(same), "of": len(same)})

    def on_answers(self) -> list[dict[str, Any]]:
        """Compare EAH on, one request at a time, with the reference: answers and reports."""
        from bench.gpu.vllm_engine import Request

        requests = [Request(case, on=True, tag=f"case-{idx}") for idx, case in enumerate(self.cases)]
        answers = [self.engine.ask([request])[0] for request in requests]
        changed = [
            (on.tokens, on.logprobs) != (off.tokens, off.logprobs) for on, off in zip(answers, self.off, strict=True)
        ]
        self.result.row(
            "EAH changes the answer where it is applied",
            sum(one for one, case in zip(changed, self.cases, strict=True) if case["applied"]),
            sum(case["applied"] for case in self.cases),
        )
        self._judge("EAH on", requests, answers)
        return [{"tokens": answer.tokens, "logprobs": list(answer.logprobs.items())} for answer in answers]

    def mixed_batch(self) -> None:
        """Compare sixteen requests in flight together, every third without EAH, with the same references."""
        from bench.gpu.vllm_engine import Request

        cases = (self.cases * BATCH)[:BATCH]
        requests = [Request(case, idx % 3 != 0, f"mixed-{idx}" if idx % 3 else "") for idx, case in enumerate(cases)]
        answers = self.engine.ask(requests)
        self._judge(f"a mixed batch of {BATCH}", requests, answers)
        self.result.row("nothing is left behind", int(self.engine.running() == 0), 1)

    def nothing_waits(self, device: str, on_rows: Sequence[dict[str, Any]]) -> None:
        """Ask the mixed batch again where any wait for the GPU in what vLLM calls of ours is an error.

        Args:
            device: On a CPU nothing can be seen.
            on_rows: Requests with methods on generated rows, asked with it.
        """
        name = "no step waits for the GPU in the plugin's code"
        if device == "cpu":
            self.result.unchecked(name, "there is no GPU")
            return
        from bench.gpu import rows, waits
        from bench.gpu.vllm_engine import Request

        requests = [Request(case, on=idx % 3 != 0) for idx, case in enumerate((self.cases * BATCH)[:BATCH])]
        requests += [Request(case, on=True) for case in on_rows]
        waited = ""
        try:
            with waits.refused():
                self.engine.ask(requests)
        except RuntimeError as error:  # torch names the operation; the engine is of no use any more, and this was last
            waited = str(error)
        self.result.note(waited=waited)
        if rows.STAND_IN:  # torch refuses waits there too, and before anything is computed
            print("STAND-IN: waits", waited or "none", flush=True)
        self.result.row(name, int(not waited), 1)

    def _judge(self, name: str, requests: Sequence[Any], answers: Sequence[Any]) -> None:
        if self.exact:
            equal(f"{name} = the reference", requests, answers, self.result)
        else:
            nearer(f"{name}: the answer lies on the reference's side", requests, answers, self.result)
        tagged = [request for request in requests if request.tag and (self.exact or request.case["clear"])]
        reports = self.engine.reports([f"{request.tag}-eah" for request in tagged])
        right = sum(_same_report(report, request.case) for report, request in zip(reports, tagged, strict=True))
        self.result.row(f"{name}: reports are the reference's", right, len(tagged))


def _same_report(report: dict[str, Any], case: dict[str, Any]) -> bool:
    if report["applied"] != case["applied"] or len(report["layers"]) != len(case["layers"]):
        return False
    return all(
        all(got[name] == expected[name] for name in ("layer", "head", "sinks", "image_tokens"))
        and math.isclose(got["density"], expected["density"], rel_tol=1e-6)
        for got, expected in zip(report["layers"], case["layers"], strict=True)
    )


if __name__ == "__main__":
    raise SystemExit(main())
