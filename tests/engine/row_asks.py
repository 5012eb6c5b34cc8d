"""Requests with the methods that act on generated rows, VHR and CLVA, and what the reference makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.clva_reference import Anchored
from tests.engine.compare import assert_equals_reference
from tests.engine.driver import Answer, Ask, Engine
from tests.rows_reference import RowsOutput, rows_generate
from tests.vhr_reference import Reinforced

ENABLED = {"additional_config": {"eah": {"methods": ["eah", "vhr", "clva"]}}}
TOKENS = 16
EAH: dict[str, Any] = {"layer": 0, "relative_threshold": 1.5}
VHR: dict[str, Any] = {"layers": [1, 2], "factor": 2.0}
CLVA: dict[str, Any] = {"early": [0], "middle": [1], "deep": [2], "alpha": 3.0, "beta": 2.0}
TWO_IMAGES = "USER: <image>\nand <image>\nPlease describe this image in detail. ASSISTANT:"
NO_IMAGE = "USER: Is there a dog? ASSISTANT:"


@dataclass(frozen=True)
class Case:
    """One request, whose answer the reference knows."""

    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    prompt: str | list[int] = IMAGE_PROMPT
    images: tuple[Image.Image, ...] = (random_image(31),)
    tokens: int = TOKENS

    def ask(self, tag: str = "", **more: Any) -> Ask:
        """The request; each of its methods makes a report under `TAG-METHOD`."""
        methods = {
            name: options | ({"report": 1, "tag": f"{tag}-{name}"} if tag else {})
            for name, options in self.methods.items()
        }
        return Ask(self.prompt, list(self.images), max_tokens=self.tokens, also=methods, **more)

    def reference(self, path: Path, *, plain: bool = False) -> RowsOutput:
        return rows_generate(path, self.prompt, list(self.images), {} if plain else self.methods, self.tokens)

    def expected(self, path: Path) -> RowsOutput:
        """The reference's answer, which the methods of a request with an image have changed."""
        on = self.reference(path)
        if self.methods and self.images:
            effect = on.first_token_logprobs - self.reference(path, plain=True).first_token_logprobs
            assert float(effect.abs().max()) > 0.1, f"{self.methods} had no effect here"
        return on


def mixed_cases() -> list[Case]:
    """Every method in several strengths, alone and together with EAH, among plain requests; for three layers."""
    two = (random_image(32), random_image(33))
    return [
        Case(),
        Case({"vhr": VHR}),
        Case({"clva": CLVA}),
        Case({"eah": EAH}),
        Case({"eah": EAH, "vhr": VHR}),
        Case(images=(random_image(34),)),
        Case({"vhr": {"layers": [0, 1], "factor": 3.0}}, images=(random_image(113),)),  # both layers have an outlier
        Case({"vhr": VHR}, TWO_IMAGES, two),
        Case({"clva": CLVA}, TWO_IMAGES, two),
        Case({}, TWO_IMAGES, two),
        Case({"vhr": {"factor": 0.4}}, images=(random_image(35),)),
        Case({"clva": {"alpha": 3.0, "beta": 1.0}}, images=(random_image(35),)),
        Case({"vhr": VHR}, NO_IMAGE, ()),
        Case({}, NO_IMAGE, ()),
    ]


def all_three() -> Case:
    """EAH, VHR and CLVA in one request, in layers of their own of five."""
    clva = CLVA | {"early": [0], "middle": [2], "deep": [4]}
    return Case({"eah": EAH | {"layer": 3}, "vhr": VHR | {"layers": [1]}, "clva": clva})


def assert_batch_equals_references(
    engine: Engine, path: Path, cases: list[Case], *, whole: bool = True
) -> list[Answer]:
    """All at once: each answer and each report is the reference's; returns the answers."""
    answers = engine.generate([case.ask(f"case{number}") for number, case in enumerate(cases)])
    for number, (case, answer) in enumerate(zip(cases, answers, strict=True)):
        expected = case.expected(path)
        assert_equals_reference(answer, expected)
        assert_reports_equal(engine, f"case{number}", case, expected, whole=whole)
    return answers


def assert_reports_equal(engine: Engine, tag: str, case: Case, expected: RowsOutput, *, whole: bool = True) -> None:
    """`whole`: one step had all of the prompt; VHR knows the mass only then."""
    names = [name for name in ("vhr", "clva") if name in case.methods]
    reports = engine.collect(*(f"{tag}-{name}" for name in names))["reports"]
    for name in names:
        report = reports[f"{tag}-{name}"]
        if not case.images:
            assert (report["applied"], report["reason"], report["layers"]) == (False, "no_image", [])
            continue
        assert (report["applied"], report["reason"]) == (True, None)
        if name == "vhr":
            assert report["image_free_tokens"] == expected.image_free_tokens
            wanted = [reinforced_as_report(outcome, whole=whole) for outcome in expected.vhr]
        else:
            wanted = [anchored_as_report(outcome) for outcome in expected.clva]
        assert report["layers"] == wanted, f"{report['layers']} is not {wanted}"


def reinforced_as_report(outcome: Reinforced, *, whole: bool) -> dict[str, Any]:
    return {
        "layer": outcome.layer,
        "heads": list(outcome.heads),
        "factor": pytest.approx(outcome.factor),
        "score": pytest.approx(outcome.divergence, rel=1e-3),
        "mass": pytest.approx(outcome.mass, rel=1e-3, abs=1e-6) if whole else None,
    }


def anchored_as_report(outcome: Anchored) -> dict[str, Any]:
    norm = {} if outcome.norm is None else {"norm": pytest.approx(outcome.norm, rel=1e-3, abs=1e-6)}
    mass = pytest.approx(outcome.mass, rel=1e-3, abs=1e-6)
    return {"layer": outcome.layer, "part": outcome.part, "mass": mass, **norm}


def next_turn(path: Path, case: Case, answer: list[int], question: str) -> Case:
    """The same conversation one question later, in token IDs: the answer's text could be split into other tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    assert isinstance(case.prompt, list), "token IDs with one image token per picture"
    return Case(
        case.methods,
        [*case.prompt, *answer, *tokenizer(question, add_special_tokens=False).input_ids],
        case.images,
        case.tokens,
    )


def long_cases() -> list[Case]:
    """Answers that outgrow a small KV cache, with every method."""
    methods: list[dict[str, dict[str, Any]]] = [
        {},
        {"vhr": VHR},
        {"clva": CLVA},
        {"eah": EAH, "vhr": VHR},
        {"vhr": VHR | {"factor": 3.0}},
        {"clva": CLVA | {"beta": 0.0}},
    ]
    return [Case(chosen, images=(random_image(100 + idx),), tokens=80) for idx, chosen in enumerate(methods)]
