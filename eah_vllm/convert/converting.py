"""Writes a checkpoint that vLLM and transformers load as LLaVA."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from transformers import (
    CLIPImageProcessor,
    CLIPVisionModel,
    GenerationConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaProcessor,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from eah_vllm.convert.error import ConvertError
from eah_vllm.convert.layouts import Layout
from eah_vllm.convert.source import TOWER, Source, num_patches, read_source, read_tower
from eah_vllm.convert.tensors import Tensors, write
from eah_vllm.convert.weights import (
    NORM,
    check_base,
    read_language_model,
    read_projector,
    read_tower_weights,
    see_white_as_zero,
)


def convert(
    layout: Layout, folder: Path, out: Path, *, base: Path | None = None, vision_tower: str | None = None
) -> None:
    """Convert a checkpoint.

    Args:
        layout: the layout of `folder`.
        folder: the checkpoint.
        out: folder to write; it must not exist, or be empty.
        base: the LLaMA that a delta is added to.
        vision_tower: the vision tower, where another one is meant than the checkpoint names.

    Raises:
        ConvertError: the checkpoint is not of this layout, or something is missing.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConvertError(f"{out} must be an empty folder, or not exist")
    source, tensors = read_source(folder, layout.model_types), Tensors(folder)
    if NORM not in set(tensors):
        raise ConvertError(f"tensor {NORM!r} is missing in {folder}")
    dtype = tensors.read(NORM).dtype
    tower_name, tower = read_tower(source, vision_tower, dtype)
    tensors.check(source.expected(tower, has_tower=any(name.startswith(TOWER) for name in tensors)))
    tokenizer = _tokenizer(layout, source)
    new_tokens = max(0, len(tokenizer) - source.fields["vocab_size"])
    seen = dict(read_tower_weights(tower, tensors))
    images = CLIPImageProcessor.from_pretrained(tower_name)
    mean = list(images.image_mean)
    if layout.white:
        see_white_as_zero(seen, mean, list(images.image_std))
        mean = [1.0, 1.0, 1.0]

    whole = Tensors(base) if base is not None else None
    check_base(tensors, whole)
    projector = dict(read_projector(source, tensors))

    out.mkdir(parents=True, exist_ok=True)
    write(out, chain(read_language_model(tensors, whole, new_tokens), projector.items(), seen.items()))
    config = _config(source, tower, len(tokenizer), tokenizer.get_vocab()[layout.image_token])
    config.dtype = dtype
    config.save_pretrained(out)
    ends = {name: source.fields.get(name) for name in ("bos_token_id", "eos_token_id")}
    GenerationConfig(**ends).save_pretrained(out)
    LlavaProcessor(
        image_processor=LlavaImageProcessorPil(
            size=dict(images.size),
            crop_size=dict(images.crop_size),
            resample=images.resample,
            image_mean=mean,
            image_std=list(images.image_std),
            do_pad=layout.white or source.fields.get("image_aspect_ratio") == "pad",
        ),
        tokenizer=tokenizer,
        patch_size=tower.config.patch_size,
        vision_feature_select_strategy="default",
        chat_template=layout.chat_template(),
        image_token=layout.image_token,
        num_additional_image_tokens=1,  # this is CLIP's class token, which the select strategy drops again
    ).save_pretrained(out)


def _config(source: Source, tower: CLIPVisionModel, num_tokens: int, image_token_id: int) -> LlavaConfig:
    text = source.text_config()
    text.vocab_size = max(text.vocab_size, num_tokens)
    text.architectures = ["LlamaForCausalLM"]
    config = LlavaConfig(
        text_config=text,
        vision_config=tower.config,
        image_token_index=image_token_id,
        projector_hidden_act="relu" if source.projector == "linear" else "gelu",
        vision_feature_layer=source.fields.get("mm_vision_select_layer", -2),
        vision_feature_select_strategy="default",
        image_seq_length=num_patches(tower),
        tie_word_embeddings=False,
    )
    config.architectures = ["LlavaForConditionalGeneration"]
    return config


def _tokenizer(layout: Layout, source: Source) -> LlamaTokenizer:
    """Load the source's tokenizer, and add the token that stands for a patch where it has none.

    Raises:
        ConvertError: a token is missing, or some have no embeddings.
    """
    tokenizer: LlamaTokenizer = LlamaTokenizer.from_pretrained(source.folder, legacy=False, add_bos_token=True)
    for token in layout.own_tokens:
        if token not in tokenizer.get_vocab():
            raise ConvertError(f"token {token!r} is missing in the tokenizer of {source.folder}")
    vocab_size = source.fields["vocab_size"]
    if len(tokenizer) > vocab_size:
        raise ConvertError(
            f"the tokenizer of {source.folder} has {len(tokenizer)} tokens, and vocab_size is {vocab_size}"
        )
    if layout.image_token not in tokenizer.get_vocab():
        tokenizer.add_tokens([layout.image_token], special_tokens=True)
    return tokenizer
