"""schemathesis over the server's own OpenAPI document: no answer of 500 or above, whatever the document allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup

from tests.fuzz.target import WAIT_SECONDS, Target

EXCLUDED = {
    "/scale_elastic_ep": "starts or stops engines; it needs Ray, and holds up every request meanwhile",
    "/metrics": "no parameters, and the largest answer of all; read in every other test",
    "/v1/systemone": "a route of another kind of model; vLLM answers 501, which is what it means",
}
"""Paths that are left out, and why."""
MODES = {"valid": schemathesis.GenerationMode.POSITIVE, "invalid": schemathesis.GenerationMode.NEGATIVE}
FEW = {"max_tokens": 4, "max_completion_tokens": 4, "max_output_tokens": 4, "n": 2, "min_tokens": 2}
"""What a valid request may ask for is bounded, so that a run ends; the corpus has the unbounded ones."""


@dataclass(slots=True)
class Found:
    """What came back, by operation and kind of input."""

    summary: dict[str, dict[str, int]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, float]:
        """Totals."""
        total: Counter[str] = Counter()
        for counts in self.summary.values():
            total.update(counts)
        operations = {name.rsplit(",", 1)[0] for name in self.summary}
        return {"schemathesis operations": len(operations), "schemathesis requests": total.total()} | {
            f"schemathesis {status}": number for status, number in sorted(total.items())
        }


def check_schema(target: Target, examples: int, seed: int, progress: Callable[[Any], Any] = iter) -> Found:
    """Ask every operation of the document.

    Args:
        target: the server.
        examples: for each operation and kind of input.
        seed: the same seed sends the same requests.
        progress: shows how far it is.
    """
    base_url, headers = f"http://{target.netloc}", {"Authorization": f"Bearer {target.key}"}
    schema = schemathesis.openapi.from_url(f"{base_url}/openapi.json", headers=headers)
    operations = [result.ok() for result in schema.get_all_operations()]
    found = Found()
    for operation in progress([one for one in operations if one.path not in EXCLUDED]):
        for kind, mode in MODES.items():
            counts: Counter[str] = Counter()
            name = f"{operation.method.upper()} {operation.path}, {kind}"

            ask = _asker(found, counts, name, base_url, headers)
            _repeat(ask, operation.as_strategy(generation_mode=mode), examples, seed)
            found.summary[name] = dict(counts)
    return found


def _asker(
    found: Found, counts: Counter[str], name: str, base_url: str, headers: dict[str, str]
) -> Callable[[schemathesis.Case], None]:
    def ask(case: schemathesis.Case) -> None:
        _bound(case)
        response = case.call(base_url=base_url, headers=headers, timeout=WAIT_SECONDS)
        counts[str(response.status_code)] += 1
        try:
            case.validate_response(response, checks=[not_a_server_error])
        except FailureGroup as failures:
            # Collected, not raised: hypothesis would shrink it, one request at a time.
            found.violations.append(f"schemathesis, {name}: {case.body!r:.4000} {failures.exceptions[0]!s:.300}")

    return ask


def _repeat(ask: Callable[[schemathesis.Case], None], strategy: Any, examples: int, seed: int) -> None:
    settings = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        hypothesis.seed(seed)(settings(hypothesis.given(strategy)(ask)))()
    except hypothesis.errors.Unsatisfiable:
        return  # an operation without input has no invalid one


def _bound(case: schemathesis.Case) -> None:
    if not isinstance(case.body, dict):
        return
    if isinstance(case.body.get("model"), str):
        case.body["model"] = "scenes"  # or nearly all would be answered 404
    for name, most in FEW.items():
        value = case.body.get(name)
        if isinstance(value, int) and value > most:
            case.body[name] = most
