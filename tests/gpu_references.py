"""Tiny checkpoints with what a CPU computes of them, for `bench/gpu`: `python -m tests.gpu_references FOLDER [MODEL]`.

A folder for each model holds the checkpoint, the pictures, and `cases.json`: requests with the answers and reports of
the Hugging Face reference; LLaVA's also `rows.json`, requests with methods that act on generated rows. The machine with
the GPU needs none of our references, only these files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from tests.checkpoints import GQA, LONG_IMAGE_PROMPT, MHA, make_llava, random_image
from tests.engine.row_asks import CLVA, VHR, Case, mixed_cases
from tests.engine.test_matches_reference import CASES
from tests.models.families import FAMILIES
from tests.models.family import make_checkpoint
from tests.models.reference import Reference
from tests.models.test_families import CASES as FAMILY_CASES
from tests.models.test_families import pictures
from tests.reference import ReferenceOutput, reference_generate
from tests.rows_reference import RowsOutput

Generate = Callable[[str, list[Image.Image], dict[str, Any] | None, int], ReferenceOutput]
TOKENS = 12
CLEAR = 0.1
"""Distance of every column's mean attention from the threshold, times the prompt's length, at which bfloat16 finds the
same sinks."""
CLEAR_CASES = {
    "mha": [(501, 1, 5.0), (510, 0, 5.0), (506, 0, 5.0), (517, 0, 5.0), (514, 2, 5.0), (511, 1, 5.0)],
    "gqa": [(534, 0, 5.0), (517, 0, 5.0), (537, 1, 5.0), (507, 1, 5.0), (539, 2, 5.0), (516, 2, 5.0)],
    "qwen2_vl": [(518, 0, 3.0), (527, 0, 3.0), (516, 0, 3.0), (508, 1, 3.0), (524, 1, 3.0), (512, 1, 3.0)],
}
"""Pictures, layers and relative thresholds that are so clear: few are, so they were looked for."""
CLEAR_HEADS = 0.03
"""Distance, as a share of the number itself, of the heads that are chosen from those that are not, at which bfloat16
chooses the same."""
FAMILIES_HERE = {"qwen2_vl": "Qwen2-VL"}
LLAVA = {"mha": MHA, "gqa": GQA}


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
                "methods": {"eah": eah},
                "prompt_token_ids": on.prompt_token_ids,
                "on": answer(on),
                "off": answer(off),
                "layers": [layer.as_report() for layer in on.report],
                "applied": any(layer.applied for layer in on.report),
                "clear": is_clear(on),
            }
        )
        return is_clear(on)

    def add_clear(self, prompt: str, picture: Callable[[int], list[Image.Image]]) -> None:
        """Add the requests in which bfloat16 must find the same sinks."""
        for seed, layer, times in CLEAR_CASES[self.folder.name]:
            eah = {"layer": layer, "relative_threshold": times}
            assert self.add(f"clear {seed}", prompt, picture(seed), eah, 4), (self.folder.name, seed, layer, times)

    def write(self) -> None:
        (self.folder / "cases.json").write_text(json.dumps(self.cases) + "\n")


def chooses_clearly(on: RowsOutput) -> bool:
    """Whether rounding to bfloat16 cannot change which heads VHR and CLVA choose."""
    half = [sorted(layer.score) for layer in on.vhr] + [sorted(layer.mass) for layer in on.clva]
    gaps = [(row[len(row) // 2] - row[len(row) // 2 - 1]) / row[len(row) // 2] for row in half]
    return min(gaps) > CLEAR_HEADS


def clear_rows(folder: Path) -> Iterator[Case]:
    """Look for two pictures for each method in which bfloat16 must choose the same heads."""
    for methods in ({"vhr": VHR}, {"clva": CLVA}):
        cases = (Case(methods, images=(random_image(seed),)) for seed in range(200, 400))
        yield from islice((case for case in cases if chooses_clearly(case.reference(folder))), 2)


def done(on: RowsOutput) -> dict[str, list[dict[str, Any]]]:
    """What the reports of the methods that acted must say of each layer."""
    vhr = [{"layer": layer.layer, "heads": list(layer.heads), "factor": layer.factor} for layer in on.vhr]
    clva = [{"layer": layer.layer, "part": layer.part} for layer in on.clva]
    return {name: layers for name, layers in (("vhr", vhr), ("clva", clva)) if layers}


def rows(folder: Path) -> None:
    """Write the requests with methods that act on generated rows."""
    found = []
    mixed = [case for case in mixed_cases() if case.images and case.methods.keys() - {"eah"}]
    for idx, case in enumerate([*mixed, *clear_rows(folder)]):
        files = [f"rows-{idx}-{number}.png" for number in range(len(case.images))]
        for file, image in zip(files, case.images, strict=True):
            image.save(folder / "pictures" / file)
        on, off = case.expected(folder), case.reference(folder, plain=True)
        assert isinstance(on, RowsOutput)
        found.append(
            {
                "prompt": case.prompt,
                "pictures": files,
                "methods": case.methods,
                "prompt_token_ids": on.prompt_token_ids,
                "on": answer(on) | {"last": on.logprobs[-1].tolist()},
                "off": answer(off) | {"last": off.logprobs[-1].tolist()},
                "reports": done(on),
                "clear": chooses_clearly(on) and not on.report,
            }
        )
    (folder / "rows.json").write_text(json.dumps(found) + "\n")


def answer(output: ReferenceOutput) -> dict[str, Any]:
    return {"tokens": output.tokens, "logprobs": output.first_token_logprobs.tolist()}


def llava(folder: Path, geometry: Any) -> None:
    make_llava(folder, geometry)
    cases = Cases(folder, partial(reference_generate, folder))
    for name, prompt, num_images, eah in CASES:
        cases.add(name, prompt, [random_image(seed) for seed in range(20, 20 + num_images)], eah, TOKENS)
    cases.add_clear(LONG_IMAGE_PROMPT, lambda seed: [random_image(seed)])
    cases.write()
    rows(folder)


def family(folder: Path) -> None:
    made = FAMILIES[FAMILIES_HERE[folder.name]]
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
    cases.add_clear(prompt, lambda seed: pictures(seed, 1))
    cases.write()


def main(target: Path, models: Sequence[str]) -> None:
    torch.set_num_threads(1)  # the models are so small that threads only wait for each other
    for name in models or CLEAR_CASES:
        if name in LLAVA:
            llava(target / name, LLAVA[name])
        else:
            family(target / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
