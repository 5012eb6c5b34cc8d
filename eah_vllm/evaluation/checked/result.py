"""Makes the controls of verified settings, and says what checking was worth, in `verify.json` and a sentence."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eah_vllm.evaluation.ask.answers import AnswerFile
from eah_vllm.evaluation.ask.controls import curve_of
from eah_vllm.evaluation.ask.setting import OFF, Setting
from eah_vllm.evaluation.checked.objects import Remover, checked_captions, judged_objects
from eah_vllm.evaluation.checked.removal import (
    MAX_RECALL_LOSS,
    chosen_threshold,
    drawn_objects,
    removal_facts,
    thresholds,
    without,
)
from eah_vllm.evaluation.checked.roc import area_interval, calibration, calibration_error, roc
from eah_vllm.evaluation.count.method_verdict import points
from eah_vllm.evaluation.count.sooner import against_sooner, curve_points
from eah_vllm.evaluation.count.statistics import mean_of
from eah_vllm.evaluation.task import Task, caption_groups

FILE = "verify.json"
_LOG = logging.getLogger(__name__)


def verify_controls(
    task: Task, settings: Sequence[Setting], answers: AnswerFile, remove: Remover | None
) -> list[Setting]:
    """Make captions that lose as many objects at random as verified ones do, and return their settings.

    Objects are drawn only for settings whose captions the server has changed.
    """
    verified = [one for one in settings if one.verify is not None]
    if not verified or caption_groups(task) is None:
        return []
    found = []
    for setting in verified:
        captions = checked_captions(task, answers.by_setting.get(setting.name, {}))
        if not any(one.answer.text != one.original for one in captions):
            continue
        if remove is None:
            _LOG.warning("no random removal: it needs the server's package; use the command `eah-vllm eval`")
            continue
        control = setting.removing()
        for draw in control.asked:
            made = without(captions, lambda one, d=draw.removal: drawn_objects(one, d), remove)  # type: ignore[misc]
            for question, answer in made.items():
                answers.derive(draw.name, question, answer)
        found.append(control)
    return found


def verify_facts(
    task: Task, settings: Sequence[Setting], answers: AnswerFile, remove: Remover | None, *, choose: bool
) -> dict[str, Any] | None:
    """Return what checking was worth, for each verified setting; None without one.

    Args:
        task: the task.
        settings: all settings of the run, with the controls.
        answers: the answers of the run.
        remove: the server's code that takes objects out of a text.
        choose: whether to try other thresholds, which is for pictures that no result is told of.
    """
    verified = [one for one in settings if one.verify is not None and not one.removal]
    if not verified or caption_groups(task) is None:
        return None
    curve = curve_of(settings)
    tallies = {
        one.name: mean_of([task.tallies(answers.by_setting.get(draw.name, {}))["caption"] for draw in one.asked])
        for one in [*verified, *curve]
    }
    facts: dict[str, Any] = {"curve": curve_points(curve, tallies), "settings": []}
    for setting in verified:
        given = answers.by_setting.get(setting.name, {})
        captions = checked_captions(task, given)
        objects = judged_objects(task, captions)
        both = any(one.there for one in objects) and not all(one.there for one in objects)
        area = area_interval(objects)
        bins = calibration(objects)
        row: dict[str, Any] = {
            "setting": setting.name,
            "captions": len(tallies[setting.name].units),
            "checked": len(captions),
            "errors": sorted({str(why) for one in given.values() if (why := (one.verify or {}).get("error"))}),
            "asked": sum(len(one.objects) for one in captions),
            "denied": sum(len(one.denied) for one in captions),
            "objects_true": sum(one.there for one in objects),
            "objects_invented": sum(not one.there for one in objects),
            "tokens": sum((one.answer.verify or {}).get("tokens") or 0 for one in captions),
            "cached_tokens": sum((one.answer.verify or {}).get("cached_tokens") or 0 for one in captions),
            "auroc": area and {"value": round(area.value, 4), "ci95": [round(area.low, 4), round(area.high, 4)]},
            "roc": roc(objects) if both else [],
            "calibration": bins,
            "calibration_error": round(calibration_error(bins), 4),
            "against_sooner": against_sooner(tallies[setting.name], [tallies[one.name] for one in curve]),
        }
        control = setting.removing()
        if control in settings and remove is not None:
            row["random_removal"] = removal_facts(task, captions, [one.removal for one in control.asked], remove)
        if choose and remove is not None and OFF in answers.by_setting:
            row["thresholds"] = thresholds(task, captions, answers.by_setting[OFF], remove)
            row["chosen_threshold"] = chosen_threshold(row["thresholds"])
            row["max_recall_loss"] = MAX_RECALL_LOSS
        facts["settings"].append(row)
    return facts


def write_facts(facts: Mapping[str, Any] | None, out: Path) -> None:
    """Write `verify.json`; a run without a verified setting has none."""
    if facts is None:
        (out / FILE).unlink(missing_ok=True)
        return
    (out / FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def verify_verdict(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any] | None) -> str:
    """Say of each verified setting what it did to CHAIRs and recall, and how it stands to its controls."""
    by_name = {row["setting"]: row for row in rows}
    return " ".join(_verdict_of(row, by_name) for row in (facts or {}).get("settings", []))


def _verdict_of(fact: Mapping[str, Any], by_name: Mapping[str, Mapping[str, Any]]) -> str:
    row = by_name[fact["setting"]]
    change = row["difference"]
    said = [
        f"{fact['setting']} changes CHAIRs by {points(change['chairs'])}, recall by {points(change['recall'])}",
    ]
    sooner = (fact["against_sooner"] or {}).get("chairs_at_equal_recall")
    if sooner is not None:
        said.append(f"at the same recall it is {points(sooner)} off the curve of captions that end sooner")
    drawn = next((other for name, other in by_name.items() if name.startswith(f"{fact['setting']},removal=")), None)
    if drawn is not None:
        said.append(
            f"as many objects removed at random change CHAIRs by {points(drawn['difference']['chairs'])}, recall by "
            f"{points(drawn['difference']['recall'])}"
        )
    if fact["checked"] < fact["captions"]:
        said.append(f"{fact['captions'] - fact['checked']} captions could not be checked")
    return "; ".join(said) + "."
