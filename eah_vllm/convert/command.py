"""`eah-vllm convert LAYOUT SRC DST`: make a LLaVA checkpoint of one in a layout that vLLM does not load."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from eah_vllm.convert.converting import convert
from eah_vllm.convert.error import ConvertError
from eah_vllm.convert.layouts import LAYOUTS

ABOUT = """Make a LLaVA checkpoint, which vLLM and transformers load, of a checkpoint in another public layout:
shikra (shikras/shikra-7b-delta-v1 is a difference to LLaMA-7B, which --base names) or llava (liuhaotian/llava-v1.5-...,
whose converted forms are llava-hf/... too). SRC and DST are folders."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser("eah-vllm convert", description=ABOUT)
    parser.add_argument("layout", choices=list(LAYOUTS))
    parser.add_argument("src", type=Path, help="the checkpoint's folder")
    parser.add_argument("dst", type=Path, help="folder to write")
    parser.add_argument("--base", type=Path, metavar="LLAMA", help="folder of the LLaMA that SRC is a difference to")
    parser.add_argument(
        "--vision-tower",
        metavar="CLIP",
        help="folder or name of the vision tower (default: mm_vision_tower in SRC's config.json)",
    )
    said = parser.parse_args(argv)
    try:
        convert(LAYOUTS[said.layout], said.src, said.dst, base=said.base, vision_tower=said.vision_tower)
    except ConvertError as error:
        parser.error(str(error))
    return 0
