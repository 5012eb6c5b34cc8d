"""Tiny checkpoints with what a CPU computes of them, for `bench/gpu`: `python -m tests.gpu_references FOLDER`.

A folder for each model holds the checkpoint, the pictures, and `cases.json`: requests with the answers and reports of
the Hugging Face reference. The machine with the GPU needs none of our references, only this file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from tests.checkpoints import GQA, LONG_IMAGE_PROMPT, MHA, make_llava, random_image
from tests.engine.test_matches_reference import CASES
from tests.models.families import FAMILIES
from tests.models.family import make_checkpoint
from tests.models.reference import Reference
from tests.models.test_families import CASES as FAMILY_CASES
from tests.models.test_families import pictures
from tests.reference import ReferenceOutput, reference_generate

Generate = Callable[[str, list[Image.Image], dict[str, Any] | None, int], ReferenceOutput]
TOKENS = 12
CLEAR = 0.15
"""Distance of every column's mean attention from the threshold, times the prompt's length, at which bfloat16 finds the
same sinks; it is about that of `tests/engine/test_features_precision.py`."""
MOST_CLEAR = 8
FAMILY = "Qwen2-VL"


def is_clear(on: ReferenceOutput) -> bool:
    """Whether EAH was applied, and rounding to bfloat16 cannot change who is a sink."""
    return all(layer.applied and layer.margin * len(on.prompt_token_ids) > CLEAR for layer in on.report)


class Cases:
    """The cases of one model, and their pictures."""

    def __init__(self, folder: Path, generate: Generate) -> None:
        self.folder, self.generate = folder, generate
        self.cases: list[dict[str, Any]] = []
        (folder / "pictures").mkdir()

    def add(self, name: str, prompt: str, images: list[Image.Image], eah: dict[str, Any], tokens: int) -> bool:
        """Compute a request with and without EAH, keep both answers, and say whether bfloat16 can be judged by it."""
        on, off = (self.generate(prompt, images, options, tokens) for options in (eah, None))
        files = [f"{len(self.cases)}-{idx}.png" for idx in range(len(images))]
        for file, image in zip(files, images, strict=True):
            image.save(self.folder / "pictures" / file)
        self.cases.append(
            {
                "name": name,
                "prompt": prompt,
                "pictures": files,
                "eah": eah,
                "prompt_token_ids": on.prompt_token_ids,
                "on": {"tokens": on.tokens, "logprobs": on.first_token_logprobs.tolist()},
                "off": {"tokens": off.tokens, "logprobs": off.first_token_logprobs.tolist()},
                "layers": [layer.as_report() for layer in on.report],
                "applied": any(layer.applied for layer in on.report),
                "clear": is_clear(on),
            }
        )
        return is_clear(on)

    def add_clear(
        self, prompt: str, picture: Callable[[int], list[Image.Image]], settings: list[dict[str, Any]]
    ) -> None:
        """Look for requests in which bfloat16 must find the same sinks."""
        found = 0
        for seed in range(500, 540):
            for eah in settings:
                if found < MOST_CLEAR and is_clear(self.generate(prompt, picture(seed), eah, 1)):
                    found += self.add(f"clear {seed}", prompt, picture(seed), eah, 4)

    def write(self) -> None:
        assert any(case["clear"] for case in self.cases), f"{self.folder.name}: no case is clear in bfloat16"
        (self.folder / "cases.json").write_text(json.dumps(self.cases) + "\n")


def llava(folder: Path, geometry: Any) -> None:
    make_llava(folder, geometry)
    cases = Cases(folder, partial(reference_generate, folder))
    for name, prompt, num_images, eah in CASES:
        cases.add(name, prompt, [random_image(seed) for seed in range(20, 20 + num_images)], eah, TOKENS)
    settings = [{"layer": layer, "relative_threshold": times} for layer in (0, 1, 2) for times in (3.0, 5.0)]
    cases.add_clear(LONG_IMAGE_PROMPT, lambda seed: [random_image(seed)], settings)
    cases.write()


def family(folder: Path) -> None:
    made = FAMILIES[FAMILY]
    make_checkpoint(made, folder)
    reference = Reference(made, folder)
    cases = Cases(folder, reference.generate)
    for name, (form, count, which, options) in FAMILY_CASES.items():
        eah = {"layer": made.layers[which]} | options
        for seed in range(0, 200, 10):
            prompt, images = made.prompt(form), pictures(seed, count)
            (layer,) = reference.generate(prompt, images, eah, 1).report
            if layer.applied and layer.margin > 2e-6:
                cases.add(name, prompt, images, eah, TOKENS)
                break
    prompt = made.prompt(FAMILY_CASES["image first"][0])
    settings = [{"layer": made.layers[1], "relative_threshold": times} for times in (2.0, 3.0)]
    cases.add_clear(prompt, lambda seed: pictures(seed, 1), settings)
    cases.write()


def main(target: Path) -> None:
    for name, geometry in (("mha", MHA), ("gqa", GQA)):
        llava(target / name, geometry)
    family(target / "qwen2_vl")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
