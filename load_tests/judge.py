"""Judges answers under load: by the answer to the same request alone, by the report, and by CHAIR."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from eah_vllm.scenes.benchmark import score_captions
from load_tests.checks import differs
from load_tests.plan import CAPTION, Ask
from load_tests.pool import Pool
from load_tests.records import FAILED, FINISHED, GAVE_UP, REFUSED, Record

EXAMPLES = 5
SHOWN = {"CHAIRs": "chairs", "CHAIRi": "chairi", "recall": "recall", "words": "words"}


@dataclass
class Verdict:
    """The judgement of a run: its figures, and what they are made from.

    Attributes:
        figures: numbers that a threshold may bound; None where one was not measured.
        failures: number of failures by kind.
        wrong: descriptions of the first wrong answers.
    """

    figures: dict[str, float | None]
    failures: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def judge(plan: Sequence[Ask], records: Sequence[Record], pool: Pool, applied: float | None = None) -> Verdict:
    """Judge every answer.

    Args:
        plan: the requests that were planned.
        records: what became of those that were sent, in any order.
        pool: the scenes with the right answers.
        applied: number of requests that the server counts as applied, for a tool that does not keep reports.
    """
    counts = Counter(record.outcome for record in records)
    failures = Counter(record.error for record in records if record.outcome == FAILED)
    wrong = [line for record in records for line in _wrong(plan[record.ask], record, pool)]
    finished = [record for record in records if record.outcome == FINISHED]
    with_eah = [record for record in finished if plan[record.ask].eah]
    figures: dict[str, float | None] = {
        "asked": len(records),
        "finished": counts[FINISHED],
        "gave_up": counts[GAVE_UP],
        "refused": counts[REFUSED],
        "failures": counts[FAILED],
        "refused_share": counts[REFUSED] / max(1, len(records)),
        "wrong_answers": len(wrong),
        "eah_finished": len(with_eah),
        "changed_by_eah": pool.changed(),
    }
    checked = [record for record in finished if plan[record.ask].verify]
    if checked:
        figures |= {
            "verified_finished": len(checked),
            "unchecked": sum(not (record.verify or {}).get("checked") for record in checked),
            "changed_by_verify": pool.changed_by_verify(),
        }
    if with_eah:
        figures |= _applied(plan, records, with_eah, pool, applied)
    plain = [record for record in finished if not plan[record.ask].rewritten]
    for setting, eah in (("off", False), ("on", True)):
        figures |= _quality(plan, [record for record in plain if plan[record.ask].eah == eah], pool, setting)
    figures |= _quality(plan, [record for record in finished if plan[record.ask].rewritten], pool, "verify")
    return Verdict(figures, dict(failures), wrong[:EXAMPLES])


def _wrong(ask: Ask, record: Record, pool: Pool) -> list[str]:
    """Say what is wrong with an answer, in one line at most; a broken-off answer is compared as far as it came."""
    wanted = pool.reference(ask)
    setting = ("EAH on" if ask.eah else "EAH off") + (", verified" if ask.verify else "")
    where = f"request {record.ask} ({ask.kind} of scene {pool.scenes[ask.scene].seed}, {setting})"
    if record.outcome == GAVE_UP and not wanted.text.strip().startswith(record.text.strip()):
        return [f"{where}: begun as {record.text!r}, not {wanted.text!r}"]
    if record.outcome != FINISHED:
        return []
    if record.text.strip() != wanted.text.strip():
        return [f"{where}: {record.text!r}, not {wanted.text!r}"]
    if record.report is not None and record.report != wanted.report:
        return [f"{where}: report {record.report}, not {wanted.report}"]
    if record.report is not None and not ask.eah:
        return [f"{where}: has a report"]
    if (record.verify is not None) != ask.verify:
        return [f"{where}: {'was checked' if record.verify else 'has no field verify'}"]
    if record.verify is not None and wanted.verify is not None:
        different = differs(record.verify, wanted.verify)
        return [f"{where}: {different}"] if different else []
    return []


def _quality(plan: Sequence[Ask], finished: Sequence[Record], pool: Pool, setting: str) -> dict[str, float | None]:
    """Compute CHAIR and recall of the captions in percent, and their mean length in words."""
    captions = [r for r in finished if plan[r.ask].kind == CAPTION]
    if not captions:
        return {}
    scenes = [pool.scenes[plan[r.ask].scene] for r in captions]
    scores = score_captions([r.text for r in captions], scenes)
    return {f"{name}_{setting}": scores[score] for score, name in SHOWN.items()}


def _applied(
    plan: Sequence[Ask], records: Sequence[Record], with_eah: Sequence[Record], pool: Pool, counted: float | None
) -> dict[str, float | None]:
    """Compute the share with EAH by the reports, or by the server's count if the tool keeps none; compare both."""
    reports = [record.report for record in with_eah if record.report is not None]
    reported = sum(bool(report["applied"]) for report in reports)
    if not reports and counted is not None:
        expected = sum(bool((pool.reference(plan[r.ask]).report or {}).get("applied")) for r in with_eah)
        share = counted / len(with_eah)
    else:
        expected, share = reported, reported / len(with_eah)
    # A request that was refused, failed or given up may have been computed or not.
    open_ = sum(plan[record.ask].eah for record in records) - len(with_eah)
    miscounted = None if counted is None else max(expected - counted, counted - expected - open_, 0)
    return {"applied_share": share, "miscounted": miscounted}
