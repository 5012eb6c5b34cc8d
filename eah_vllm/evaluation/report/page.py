"""Writes `report.html`, the results of a run as one page without network or script, and its plots as PNG files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eah_vllm.evaluation.ask.answers import AnswerFile
from eah_vllm.evaluation.ask.asking import Server
from eah_vllm.evaluation.ask.server_facts import server_facts
from eah_vllm.evaluation.ask.setting import Setting
from eah_vllm.evaluation.count.statistics import RESAMPLES, SPLITS
from eah_vllm.evaluation.report import page_tables, tables
from eah_vllm.evaluation.report.checked import checked_plots, checked_rows
from eah_vllm.evaluation.report.examples import SHOWN, draw_examples
from eah_vllm.evaluation.report.figures import mechanism_plots, sweep_plot
from eah_vllm.evaluation.report.plot_tradeoff import Point, trade_off
from eah_vllm.evaluation.report.plots import Plot, svg, write_png
from eah_vllm.evaluation.report.spoken import spoken
from eah_vllm.evaluation.task import Task


def write_report(
    server: Server,
    task: Task,
    settings: Sequence[Setting],
    answers: AnswerFile,
    rows: Sequence[Mapping[str, Any]],
    told: str,
    out: Path,
) -> Path:
    """Write `report.html`, with what `sweep.json` and `mechanism.json` of the same folder hold, and the plots' PNGs.

    Args:
        server: the server that the run asked; the page names its versions, if it still answers.
        task: the task, for its pictures and captions.
        settings: the settings of the run; the others are compared with the first.
        answers: the answers of the run.
        rows: the rows that `summarize` returned.
        told: the sentences that `verdict` returned.
        out: the run's folder.
    """
    letters = tables.letters(settings)
    sweep, mechanism = _read(out / "sweep.json"), _read(out / "mechanism.json")
    checked = _read(out / "verify.json")
    compared = compared_setting(settings, rows)
    examples = None
    if compared is not None:
        kept = answers.by_setting
        sides = [kept.get(setting.asked[0].name, {}) for setting in (settings[0], compared)]
        examples = draw_examples(task, *sides)
    sinks, correlated = mechanism_plots(mechanism) if mechanism else (None, [])
    drawn_sinks = _drawn([sinks] if sinks else [], out / "sinks.png")
    correlations = _drawn(correlated, out / "correlation.png")
    page = _page().render(
        told=told,
        run={**task.identity(), **task.protocol(), "model": server.model},
        facts=server_facts(server, out),
        date=datetime.now(UTC).date().isoformat(),
        settings=[_named(s, letters) for s in settings],
        rows=page_tables.main_rows(rows),
        units=rows[0]["n"],
        columns=page_tables.columns(rows),
        details=page_tables.details(rows),
        heads=[(row["setting"], used) for row in rows if (used := tables.heads_used(row))],
        parts=page_tables.parts(rows),
        trade_offs=_drawn(_trade_offs(settings, rows), out / "tradeoff.png", _legend(settings)),
        sweep=sweep,
        sweep_metric=sweep and tables.TITLES.get(sweep["metric"], sweep["metric"]),
        sweep_plots=_drawn([sweep_plot(sweep)] if sweep else [], out / "sweep.png"),
        checked=checked and checked_rows(checked, letters),
        checked_plots=_drawn(checked_plots(checked) if checked else [], out / "roc.png"),
        mechanism=mechanism,
        sink_plot=drawn_sinks,
        correlation_plots=correlations,
        examples=examples,
        compared=compared and _named(compared, letters),
        shown=SHOWN,
        resamples=RESAMPLES,
        splits=SPLITS,
    )
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def compared_setting(settings: Sequence[Setting], rows: Sequence[Mapping[str, Any]]) -> Setting | None:
    """Return the setting that examples compare with the first: the best one that is verified, or lets EAH choose."""
    by_kind = [[s for s in settings[1:] if tables.kind(s) == kind] for kind in ("verify", "eah", "fixed")]
    others = by_kind[0] or by_kind[1] or by_kind[2] or list(settings[1:])
    main, sign = ("chairs", 1) if page_tables.has_captions(rows) else ("f1", -1)
    figures = {row["setting"]: sign * row[main] for row in rows if row.get(main) is not None}
    return min((s for s in others if s.name in figures), key=lambda s: figures[s.name], default=None)


def _page() -> Any:
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template(
        "report.html.jinja"
    )


def _named(setting: Setting, letters: Mapping[str, str]) -> dict[str, str]:
    return {
        "name": setting.name,
        "spoken": spoken(setting),
        "letter": letters[setting.name],
        "kind": tables.kind(setting),
    }


def _trade_offs(settings: Sequence[Setting], rows: Sequence[Mapping[str, Any]]) -> list[Plot]:
    letters = tables.letters(settings)
    y, *xs = ("chairs", "recall", "words") if page_tables.has_captions(rows) else ("f1", "yes_ratio", "recall")
    labels = {"chairs": "CHAIRs, %", "recall": "recall, %", "words": "words a caption", "f1": "F1, %"}
    labels["yes_ratio"] = "says yes, %"
    plots = []
    for x in xs:
        points = [
            Point(letters[s.name], tables.kind(s), (row[x], *row["ci95"][x]), (row[y], *row["ci95"][y]))
            for s, row in zip(settings, rows, strict=True)
            if x in row["ci95"] and y in row["ci95"]
        ]
        if points:
            plots.append(trade_off(f"tradeoff-{x}", points, labels[x], labels[y]))
    return plots


def _drawn(plots: Sequence[Plot], png: Path, legend: str = "") -> list[Markup]:
    if plots:
        write_png(plots, png, legend)
    return [Markup(svg(plot)) for plot in plots]  # matplotlib has escaped the texts in it


def _legend(settings: Sequence[Setting]) -> str:
    letters = tables.letters(settings)
    return "\n".join(f"{letters[s.name]}  {spoken(s)}" for s in settings)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
