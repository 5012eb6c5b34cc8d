"""What the soak test asks: requests of every kind, seeded, and ones that must be refused."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.checkpoints import random_image
from tools.serving import image_message

NUM_IMAGES = 4
QUESTIONS = (
    "Is there a dog in the image?",
    "What colour is the cup on the table?",
    "Please describe this image in detail.",
    # Long enough for cached blocks past the image.
    "Please describe this image in detail. Is there a small brown dog near the blue bench? What colour is the cup?",
)

BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"eah": "yes"}, "eah"),
    ({"eah": {"layr": 1}}, "eah.layr"),
    ({"eah": {"layer": 5}}, "eah.layer"),
    ({"eah": {"layer": [0, 9]}}, "eah.layer"),
    ({"eah": {"head": 6}}, "eah.head"),
    ({"eah": {"head": "best"}}, "eah.head"),
    ({"eah": {"threshold": 1}}, "eah.threshold"),
    ({"eah": {"relative_threshold": -1}}, "eah.relative_threshold"),
    ({"eah": {"threshold": 0.1, "relative_threshold": 1}}, "eah.relative_threshold"),
    ({"eah": {"min_density": 1.5}}, "eah.min_density"),
    ({"eah": {"preset": "theirs"}}, "eah.preset"),
    ({"eah": {"preset": "released_code"}}, "eah.layer"),  # its layer 15 does not exist here
    ({"eah": True, "vllm_xargs": {"eah": 1}}, "vllm_xargs"),
    ({"vllm_xargs": {"eah": 1, "eah_layer": 99}}, "layer"),
    ({"vllm_xargs": {"eah_layer": 1}}, "eah_layer"),
)
"""Body fields, and what the refusal must name."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question. `eah` as the typed field has it, without `report`; None: EAH off."""

    kind: str
    eah: dict[str, Any] | None
    messages: tuple[dict[str, Any], ...] = ()
    prompt: str = ""
    """Of a completion, where there are no messages."""
    n: int = 1
    max_tokens: int = 8
    refused: str = ""
    """What the refusal must name; empty where the request is good."""
    body: tuple[tuple[str, Any], ...] = ()
    """Further fields, of a bad request."""


@dataclass(frozen=True, slots=True)
class Sending:
    """One request on its way: the same ask, sent in any way, must get the same answer."""

    ask: int
    """Index of the ask."""
    way: str
    """How EAH is asked for: "field", "alias" or "xargs"."""
    stream: bool
    report: bool
    hang_up: int | None = None
    """The client goes away after this many tokens (a stream), or events elsewhere (not a stream)."""


# Shared by many asks: plain ones find images and questions in the prefix cache that EAH ones computed otherwise.
_EAH: dict[str, list[dict[str, Any]]] = {
    "default": [{}],
    "layer": [{"layer": 0}, {"layer": 1}, {"layer": 4}],
    "layers": [{"layer": [0, 2]}, {"layer": [1, 3, 4]}, {"layer": [0, 1, 2, 3, 4]}],
    "threshold": [{"threshold": 0.01}, {"threshold": 0.02}, {"layer": 1, "threshold": 0.002}],
    "relative_threshold": [{"relative_threshold": 1.0}, {"relative_threshold": 2.5}],
    "head": [{"head": 0}, {"head": 3}, {"head": 5}],
    "sparsest": [{"head": "sparsest"}, {"head": "sparsest", "layer": [0, 1]}],
    "random": [{"head": "random"}, {"head": "random", "layer": [1, 2]}],
    "min_density": [{"min_density": 0.05}, {"layer": 1, "min_density": 0.1}],
    "below min_density": [{"min_density": 1.0}],
    "no sink": [{"threshold": 0.99}],
    "released_code": [{"preset": "released_code", "layer": layer} for layer in (0, 1, 3)],
}


def make_asks(per_kind: int, rng: random.Random) -> list[Ask]:
    """`per_kind` different asks of every kind."""
    makers: dict[str, Callable[[str, dict[str, Any] | None], Ask]] = {
        "one image": lambda kind, eah: Ask(kind, eah, _chat(rng, 1), max_tokens=rng.choice((4, 12, 100))),
        "images": lambda kind, eah: Ask(kind, eah, _chat(rng, rng.choice((2, 3))), max_tokens=rng.choice((4, 12, 60))),
        "turns": lambda kind, eah: Ask(kind, eah, _turns(rng), max_tokens=12),
        "n=2": lambda kind, eah: Ask(kind, eah, _chat(rng, 1), n=2, max_tokens=rng.choice((4, 30))),
        "text": lambda kind, eah: Ask(kind, eah, ({"role": "user", "content": rng.choice(QUESTIONS)},)),
        "completion": lambda kind, eah: Ask(kind, eah, prompt=f"USER: {rng.choice(QUESTIONS)} ASSISTANT:"),
    }
    asks = []
    for idx in range(per_kind):
        asks += [make(f"plain, {name}", None) for name, make in makers.items()]
        asks += [make(f"EAH, {name}", _options(rng)) for name, make in makers.items() if name != "one image"]
        asks += [makers["one image"](f"EAH, {name}", choices[idx % len(choices)]) for name, choices in _EAH.items()]
        for body, named in rng.sample(BAD, 2):
            asks.append(Ask("bad options", None, _chat(rng, 1), refused=named, body=tuple(body.items())))
    return asks


def long_prompts(number: int) -> list[Ask]:
    """Asks with much to compute, so that clients can go away meanwhile; every second one is answered at length."""
    rng = random.Random(1)
    eah = {"layer": [0, 1, 2, 3, 4], "relative_threshold": 1.5}
    return [Ask("long", eah, _chat(rng, 4), max_tokens=12 if idx % 2 else 60) for idx in range(number)]


def make_plan(asks: Sequence[Ask], requests: int, rng: random.Random) -> list[Sending]:
    """`requests` sendings: every ask in turn, in random order, one in six given up by its client."""
    plan = []
    for idx in range(requests):
        ask = asks[idx % len(asks)]
        way = rng.choice(("field", "alias", "xargs")) if ask.eah is not None else "field"
        hang_up = rng.choice((0, 0, 1, 3)) if not ask.refused and rng.random() < 1 / 6 else None
        plan.append(Sending(idx % len(asks), way, rng.random() < 0.5, rng.random() < 0.75, hang_up))
    rng.shuffle(plan)
    return plan


def alone(asks: Sequence[Ask]) -> Iterator[Sending]:
    """Every good ask once, in the plainest way."""
    return (Sending(idx, "field", False, True) for idx, ask in enumerate(asks) if not ask.refused)


def body_fields(ask: Ask, sending: Sending) -> dict[str, Any]:
    """The fields that ask for EAH, `model` aside."""
    if ask.refused or ask.eah is None:
        return dict(ask.body)
    options = ask.eah | ({"report": True} if sending.report else {})
    if sending.way == "xargs" or ask.prompt:  # completions refuse the field
        return {"vllm_xargs": {"eah": 1} | {f"eah_{name}": _flat(value) for name, value in options.items()}}
    if sending.way == "alias" and not options:
        return {}
    return {"eah": options or True}


def _flat(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _options(rng: random.Random) -> dict[str, Any]:
    return rng.choice([options for choices in _EAH.values() for options in choices])


def _content(rng: random.Random, images: int) -> list[dict[str, Any]]:
    parts = [image_message(random_image(rng.randrange(NUM_IMAGES)))[0]["content"][0] for _ in range(images)]
    return [*parts, {"type": "text", "text": rng.choice(QUESTIONS)}]


def _chat(rng: random.Random, images: int) -> tuple[dict[str, Any], ...]:
    return ({"role": "user", "content": _content(rng, images)},)


def _turns(rng: random.Random) -> tuple[dict[str, Any], ...]:
    answer = {"role": "assistant", "content": "Yes, there is a dog."}
    return (*_chat(rng, 1), answer, *_chat(rng, rng.choice((0, 1))))
