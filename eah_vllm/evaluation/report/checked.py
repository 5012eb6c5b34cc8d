"""The report's part about checked captions, from `verify.json`: sentences, ROC and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from eah_vllm.evaluation.report.plots import Colours, Plot
from eah_vllm.evaluation.report.tables import NOTHING, signed

_STYLES = ("-", "--", ":", "-.")
SIZE = (4.4, 3.9)
_AGAINST = {
    "chairs_at_equal_recall": "CHAIRs at the same recall",
    "recall_at_equal_chairs": "Recall at the same CHAIRs",
}


def checked_rows(checked: Mapping[str, Any], letters: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return for each verified setting its letter, its sentences, and the table of thresholds if there is one."""
    return [
        {
            "letter": letters[fact["setting"]],
            "setting": fact["setting"],
            "lines": list(_lines(fact)),
            "thresholds": fact.get("thresholds"),
            "chosen": fact.get("chosen_threshold"),
            "max_recall_loss": f"{fact.get('max_recall_loss', 0):g}",
        }
        for fact in checked["settings"]
    ]


def _lines(fact: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{fact['checked']} of {fact['captions']} captions were checked: {fact['asked']} objects asked about, "
        f"{fact['denied']} denied. Of those that the scorer knows, {fact['objects_true']} are there and "
        f"{fact['objects_invented']} are invented."
    ]
    lines += [f"Checks failed: {', '.join(fact['errors'])}."] if fact["errors"] else []
    if fact["auroc"]:
        low, high = fact["auroc"]["ci95"]
        error = f"mean distance of P(yes) from the share that is there: {fact['calibration_error']:.3f}"
        lines.append(f"AUROC {fact['auroc']['value']:.3f} [{low:.3f}, {high:.3f}]; {error}.")
    if fact["tokens"]:
        share = f"{100 * fact['cached_tokens'] / fact['tokens']:.0f} %"
        lines.append(f"The questions had {fact['tokens']} tokens, of which the prefix cache had {share}.")
    against = fact["against_sooner"] or {}
    lines += [_against(said, against[name]) for name, said in _AGAINST.items() if name in against]
    return lines + (_removal(fact["random_removal"]) if fact.get("random_removal") else [])


def _against(said: str, found: Mapping[str, Any]) -> str:
    low, high = found["ci95"]
    far = f" The curve does not reach so far in {100 * found['outside']:.0f} % of the resamples."
    return (
        f"{said}, less that of captions that end sooner ({found['curve']:.1f}): {signed(found['difference'])} points "
        f"[{signed(low)}, {signed(high)}].{far if found['outside'] else ''}"
    )


def _removal(drawn: Mapping[str, Any]) -> list[str]:
    removed = ", ".join(map(str, drawn["removed"]))
    shares = ", ".join(_percent(one) for one in drawn["invented_share"])
    return [
        f"Random removal took {removed} objects; the check took {drawn['removed_by_verify']}.",
        f"Invented among those drawn: {shares} %; expected if drawn evenly: "
        f"{_percent(drawn['invented_share_expected'])} %; among those that the check took: "
        f"{_percent(drawn['invented_share_by_verify'])} %.",
        f"The code of the control gives the very text of the server in {_percent(drawn['same_text'])} % of the changed "
        "captions.",
    ]


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.1f}"


def checked_plots(checked: Mapping[str, Any]) -> list[Plot]:
    """Plot ROC curves and calibration of all verified settings; none where no object is known to be invented."""
    facts = [fact for fact in checked["settings"] if fact["roc"]]
    return [_roc(facts), _calibration(facts)] if facts else []


def _roc(facts: Sequence[Mapping[str, Any]]) -> Plot:
    def draw(axes: Axes, colours: Colours) -> None:
        axes.plot([0, 100], [0, 100], color=colours["muted"], linewidth=0.8)
        for number, fact in enumerate(facts):
            x, y = ([100 * point[side] for point in fact["roc"]] for side in ("true_denied", "invented_denied"))
            axes.plot(
                x, y, _STYLES[number % len(_STYLES)], color=colours["verify"], linewidth=1.6, label=fact["setting"]
            )
        axes.set_xlabel("true objects denied, %")
        axes.set_ylabel("invented objects denied, %")
        _finish(axes, colours)

    return Plot("roc", "Shares of invented and of true objects denied, by threshold; figures: verify.json.", SIZE, draw)


def _calibration(facts: Sequence[Mapping[str, Any]]) -> Plot:
    def draw(axes: Axes, colours: Colours) -> None:
        axes.plot([0, 1], [0, 1], color=colours["muted"], linewidth=0.8)
        for number, fact in enumerate(facts):
            rows = fact["calibration"]
            x, y = ([row[name] for row in rows] for name in ("p_yes", "there"))
            axes.plot(
                x, y, _STYLES[number % len(_STYLES)], marker="o", markersize=4, color=colours["verify"], linewidth=1.2,
                label=fact["setting"],
            )  # fmt: skip
            for row in rows:
                axes.plot([row["p_yes"]] * 2, row["ci95"], color=colours["verify"], linewidth=1, alpha=0.4)
        axes.set_xlabel("P(yes)")
        axes.set_ylabel("share that is there")
        _finish(axes, colours)

    return Plot("calibration", "Share of objects that are there, by P(yes); figures: verify.json.", SIZE, draw)


def _finish(axes: Axes, colours: Colours) -> None:
    axes.grid(color=colours["rule"], linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, labelcolor=colours["ink"], loc="lower right", fontsize=8)
