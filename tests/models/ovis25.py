"""Ovis2.5: how its pictures and its prompts are made, here once more, and what a checkpoint has of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

from PIL import Image
from tokenizers import Tokenizer
from transformers import AutoImageProcessor, AutoTokenizer, BatchFeature, PreTrainedTokenizerFast, SiglipImageProcessor

from tests.models.family import HIDDEN, TEXT, Family
from tests.models.ovis25_model import PATCH, STRIDE, VISION_HEADS, WIDTH, Ovis2_5
from tests.models.remote_code.configuration_ovis2_5 import Ovis2_5_Config

LEAST_PIXELS = 448**2
PAD, WORDS = "<|image_pad|>", 64
# vLLM has the public tokenizer's IDs of these in its code; they are in no prompt.
PUBLIC_IDS = {
    "<ovis_image_start>": 151672,
    "<ovis_image_end>": 151673,
    "<ovis_video_start>": 151674,
    "<ovis_video_end>": 151675,
}
Ovis2_5_Config.register_for_auto_class()


class Pictures:
    """Sizes of whole squares of patches, as many pixels as the tower is for, and the prompt written out."""

    def __init__(self, path: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=True)
        self.image_processor = AutoImageProcessor.from_pretrained(path)

    def __call__(self, text: str, images: list[Image.Image] | None, return_tensors: str) -> BatchFeature:
        pictures = []
        for image in images or ():
            height, width = _size(image.height, image.width)
            made = self.image_processor.preprocess(image, size={"height": height, "width": width}, return_tensors="pt")
            pictures.append(made["pixel_values"][0])
            tokens = height * width // (PATCH * STRIDE) ** 2 + 2
            text = text.replace("<image>", PAD * tokens, 1)
        found = self.tokenizer(text, add_special_tokens=False, return_tensors=return_tensors)
        return BatchFeature(
            {"input_ids": found["input_ids"], "pictures": pictures, "pad": self.tokenizer.convert_tokens_to_ids(PAD)}
        )


def _size(height: int, width: int) -> tuple[int, int]:
    unit = PATCH * STRIDE
    if min(height, width) < unit:
        scale = unit / min(height, width)
        height, width = (unit if side == min(height, width) else round(scale * side) for side in (height, width))
    rounded = round(height / unit) * unit, round(width / unit) * unit
    assert rounded[0] * rounded[1] < LEAST_PIXELS, "the tests have small pictures"
    scale = math.sqrt(LEAST_PIXELS / (height * width))
    return math.ceil(height * scale / unit) * unit, math.ceil(width * scale / unit) * unit


class Saved:
    """What a checkpoint has beside configuration and weights; vLLM brings the processor."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer

    def save_pretrained(self, path: Path) -> None:
        written = json.loads(self.tokenizer.backend_tokenizer.to_str())
        written["model"]["vocab"] |= PUBLIC_IDS
        for token in written["added_tokens"]:
            token["id"] = PUBLIC_IDS.get(token["content"], token["id"])
        moved = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(json.dumps(written)),
            unk_token="<unk>",
            bos_token="<s>",
            eos_token="</s>",
            pad_token="<pad>",
            chat_template=self.tokenizer.chat_template,
        )
        moved.save_pretrained(path)
        SiglipImageProcessor(do_convert_rgb=True).save_pretrained(path)


OVIS25 = Family(
    "Ovis2_5",
    config=lambda _: Ovis2_5_Config(
        architectures=["Ovis2_5"],
        llm_config=TEXT | {"architectures": ["Qwen3ForCausalLM"]},
        vit_config={
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": VISION_HEADS,
            "num_channels": 3,
            "num_patches": -1,
            "image_size": 4 * PATCH,
            "patch_size": PATCH,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": 1e-6,
            "attention_dropout": 0.0,
            "hidden_stride": STRIDE,
            "window_size": PATCH * STRIDE,
            "fullatt_block_indexes": None,
            "temporal_patch_size": 1,
            "preserve_original_pe": True,
            "use_rope": True,
        },
        visual_vocab_size=WORDS,
        hidden_size=HIDDEN,
        tie_word_embeddings=False,
    ),
    processor=Saved,
    image="<image>",
    image_token=PAD,
    specials={
        "image_pad": PAD,
        "video_token": "<video>",
        "visual_atom": "<ovis_visual_atom>",
        **{token.strip("<>"): token for token in PUBLIC_IDS},
    },
    image_tokens=4 * 5 + 2,
    max_images=2,
    model=Ovis2_5,
    remote_code=True,
    text_config="llm_config",
    load_processor=Pictures,
)
