"""Requests that several tests send."""

from tests.checkpoints import IMAGE_PROMPT, random_image
from tests.engine.driver import Ask

EAH = {"layer": 1, "relative_threshold": 1.5}
OTHER_EAH = {"layer": 0, "relative_threshold": 1.5}


def mixed_asks() -> list[Ask]:
    """Everything at once: EAH off, in several layers, with several rules, without an image, without effect."""
    settings = [
        None,
        EAH,
        None,
        OTHER_EAH,
        {"layer": [0, 2], "relative_threshold": 2.0},
        {"layer": 2, "relative_threshold": 1.0, "head": "sparsest"},
        {"layer": 1, "threshold": 0.99},
        {"layer": 1, "relative_threshold": 1.5, "head": 3},
        {"layer": [0, 1], "relative_threshold": 1.5, "head": "random", "seed": 2},
    ]
    asks = [Ask(IMAGE_PROMPT, [random_image(40 + idx)], eah) for idx, eah in enumerate(settings)]
    return [*asks, Ask("USER: Is there a dog? ASSISTANT:", [], EAH), Ask("USER: Is there a cup? ASSISTANT:")]
