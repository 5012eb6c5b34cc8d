"""Hugging Face eager reference of EAH: slow, one request at a time, float32, written from the paper, not from our code.

It shares nothing with `eah_vllm`. Every map is built whole, `[head, query, key]`, and every rule is spelled out, so
that it can be compared line by line with arXiv 2411.09968 section 3 and with `modeling_llama_eah.py` of the authors.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoProcessor,
    DynamicCache,
    LlavaForConditionalGeneration,
)
from transformers.masking_utils import eager_mask

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"layer": 1, "threshold": 0.002},
    "released_code": {"layer": 15, "threshold": 0.0008},
}


@dataclass(frozen=True, slots=True)
class LayerOutcome:
    """What EAH saw and did in one layer.

    `head` is the source head, None where nothing was broadcast; `sinks` are those of the head the rule chose.
    `margin` is the smallest distance of any column's mean attention to the threshold. Below about 1e-6 rounding decides
    who is a sink, and the case is no good for a comparison with another implementation.
    """

    layer: int
    head: int | None
    sinks: int
    image_tokens: int
    density: float
    margin: float
    sinks_per_head: tuple[int, ...]
    received: torch.Tensor = field(compare=False, repr=False)
    """Mean attention that each image token receives from later rows, `[heads, image tokens]`."""

    @property
    def applied(self) -> bool:
        return self.head is not None

    def as_report(self) -> dict[str, Any]:
        """The layer's entry in the server's report."""
        names = ("layer", "head", "sinks", "image_tokens", "density")
        return {name: getattr(self, name) for name in names}


@dataclass(slots=True)
class ReferenceOutput:
    tokens: list[int]
    logprobs: torch.Tensor
    """Log-softmax over the whole vocabulary from which each token was chosen, `[max_tokens, vocab]`."""
    prompt_logprobs: torch.Tensor
    """Log-softmax over the whole vocabulary at every prompt row, `[prompt length, vocab]`."""
    prompt_token_ids: list[int]
    """With every image placeholder expanded."""
    report: list[LayerOutcome] = field(default_factory=list)
    """One entry per layer that was read, in layer order; empty without EAH and for a prompt without image."""

    @property
    def first_token_logprobs(self) -> torch.Tensor:
        """Log-softmax over the whole vocabulary at the last prompt row, `[vocab]`."""
        return self.logprobs[0]


@dataclass(slots=True)
class _Request:
    """EAH options after presets, and what is known of the prompt."""

    layers: tuple[int, ...]
    threshold: float
    head: str | int
    min_density: float
    released_code: bool
    seed: int
    pictures: list[str] | None
    image_columns: list[int]
    first_columns: list[int]
    report: list[LayerOutcome] = field(default_factory=list)


def reference_generate(
    path: str | Path,
    prompt: str | list[int],
    images: list[Image.Image],
    eah: dict[str, Any] | None = None,
    max_tokens: int = 12,
    allowed: list[int] | None = None,
    pictures: list[str] | None = None,
) -> ReferenceOutput:
    """Greedy generation with or without EAH; never stops at the end of the sentence.

    Args:
        path: Folder of a LLaVA checkpoint.
        prompt: Text with one `<image>` per image, or token ids with one image token per image (or already expanded).
        images: Pictures, in the order of their placeholders.
        eah: Options of DESIGN 3 except `report`; None for ordinary attention.
        max_tokens: Tokens to generate.
        allowed: Tokens to choose from, all where None.
        pictures: What the engine calls the pictures; the random head depends on it.
    """
    model, processor = load_reference(str(path))
    input_ids, pixel_values = _prepare(model, processor, prompt, images)
    request = _resolve(eah, input_ids, model, pictures) if eah is not None else None
    for layer in model.model.language_model.layers:
        layer.self_attn.eah_request = request

    tokens, rows = greedy(model, input_ids, pixel_values, max_tokens, allowed)
    logprobs = torch.stack([row[-1] for row in rows])
    return ReferenceOutput(tokens, logprobs, rows[0], input_ids, request.report if request else [])


def greedy(
    model: Any,
    input_ids: list[int],
    pixel_values: torch.Tensor | None,
    max_tokens: int,
    allowed: list[int] | None = None,
) -> tuple[list[int], list[torch.Tensor]]:
    """The tokens, chosen from `allowed` or from all, and of each step the log-softmax of its rows, `[rows, vocab]`."""
    inputs: dict[str, Any] = {"input_ids": torch.tensor([input_ids]), "pixel_values": pixel_values}
    cache = DynamicCache(config=model.config.text_config)
    tokens: list[int] = []
    rows: list[torch.Tensor] = []
    candidates = allowed or list(range(model.config.text_config.vocab_size))
    with torch.inference_mode():
        for _ in range(max_tokens):
            logits = model(**inputs, past_key_values=cache, use_cache=True).logits[0].float()
            rows.append(torch.log_softmax(logits, dim=-1))
            tokens.append(candidates[int(logits[-1, candidates].argmax())])
            inputs = {"input_ids": torch.tensor([[tokens[-1]]])}
    return tokens, rows


def image_embeddings(path: str | Path, images: list[Image.Image]) -> np.ndarray:
    """What the language model is given for each image, `[images, image tokens, hidden]`."""
    model, processor = load_reference(str(path))
    pixel_values = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        features = model.model.get_image_features(pixel_values).pooler_output
    return torch.stack([image.view(-1, image.shape[-1]) for image in features]).numpy()


def prompt_embeddings(path: str | Path, prompt: str, images: list[Image.Image]) -> np.ndarray:
    """What the language model is given for a prompt, `[prompt length, hidden]`."""
    model, processor = load_reference(str(path))
    input_ids, _ = _prepare(model, processor, prompt, images)
    is_image = np.array(input_ids) == model.config.image_token_index
    with torch.inference_mode():
        embeddings = model.get_input_embeddings()(torch.tensor(input_ids)).numpy().copy()
    embeddings[is_image] = image_embeddings(path, images).reshape(-1, embeddings.shape[-1])
    return embeddings


def _eah_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Eager attention with EAH on the prompt of the request that the layer holds.

    Shapes: query `[1, heads, queries, dim]`, key and value `[1, kv_heads, keys, dim]`; result
    `[1, queries, heads, dim]`.
    """
    group = query.shape[1] // key.shape[1]
    key, value = key[0].repeat_interleave(group, 0), value[0].repeat_interleave(group, 0)
    logits = query[0] @ key.transpose(1, 2) * scaling
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    if attention_mask is not None:
        logits = logits + attention_mask[0]
    attention_map = torch.softmax(logits, dim=-1)

    request: _Request | None = module.eah_request
    is_prompt = query.shape[2] == key.shape[1]  # a decode step has one query row and many keys
    if request is not None and request.image_columns and is_prompt and module.layer_idx in request.layers:
        outcome = _select(attention_map, module.layer_idx, request)
        request.report.append(outcome)
        if outcome.head is not None:
            attention_map = attention_map[outcome.head].expand_as(attention_map)
    return (attention_map @ value).transpose(0, 1)[None].contiguous(), None


def _select(attention_map: torch.Tensor, layer: int, request: _Request) -> LayerOutcome:
    """Steps 1 to 3 of the method on one layer's maps `[head, query, key]`."""
    num_heads, prompt_length, _ = attention_map.shape
    sinks = [0] * num_heads
    all_received = torch.zeros(num_heads, len(request.image_columns))
    margin = float("inf")
    for number, column in enumerate(request.image_columns):
        if request.released_code and column in request.first_columns:
            continue  # their slice 36:611 misses the first image token, at 35
        rows = 647 - column if request.released_code else prompt_length - 1 - column
        if rows <= 0:
            continue
        received = attention_map[:, column + 1 :, column].sum(dim=1) / rows
        all_received[:, number] = received
        margin = min(margin, float((received - request.threshold).abs().min()))
        for head in range(num_heads):
            sinks[head] += int(received[head] > request.threshold)

    head, applied = _source_head(sinks, layer, request)
    num_image_tokens = len(request.image_columns)
    density = sinks[head] / num_image_tokens
    return LayerOutcome(
        layer, head if applied else None, sinks[head], num_image_tokens, density, margin, tuple(sinks), all_received
    )


def _source_head(sinks: list[int], layer: int, request: _Request) -> tuple[int, bool]:
    """The head that the rule chooses, and whether it is broadcast. `index` finds the lowest head among equals.

    A fixed head is always broadcast; the sparsest and the random head, which are controls, wherever any head has a
    sink. The random head is the SHA-256 digest of the JSON list [seed, layer, picture, ...], read as one number with
    the most significant byte first, modulo the number of heads.
    """
    if isinstance(request.head, int):
        return request.head, True
    if request.head == "sparsest":
        return sinks.index(min(sinks)), max(sinks) > 0
    if request.head == "random":
        assert request.pictures is not None, "the random head depends on the names of the pictures"
        digest = hashlib.sha256(json.dumps([request.seed, layer, *request.pictures]).encode()).hexdigest()
        return int(digest, 16) % len(sinks), max(sinks) > 0
    if request.head != "auto":
        raise ValueError(f"the reference has no head rule {request.head!r}")
    densest = sinks.index(max(sinks))
    dense_enough = sinks[densest] > 0 and sinks[densest] / len(request.image_columns) >= request.min_density
    return densest, dense_enough and not (request.released_code and densest == 0)  # their `if k > 0`


def _resolve(eah: dict[str, Any], input_ids: list[int], model: Any, pictures: list[str] | None) -> _Request:
    preset = eah.get("preset", "paper")
    options = {"head": "auto", "min_density": 0.0} | PRESETS[preset] | eah
    layers = options["layer"] if isinstance(options["layer"], (list, tuple)) else [options["layer"]]
    threshold = float(options["threshold"])
    if options.get("relative_threshold") is not None:
        threshold = options["relative_threshold"] / len(input_ids)
    image_token = model.config.image_token_index
    columns = [c for c, token in enumerate(input_ids) if token == image_token]
    # Two images side by side are one run of image tokens but two spans, each as long as one image.
    per_image = _tokens_per_image(model)
    return _Request(
        layers=tuple(layers),
        threshold=threshold,
        head=options["head"],
        min_density=options["min_density"],
        released_code=preset == "released_code",
        seed=options.get("seed", 0),
        pictures=pictures,
        image_columns=columns,
        first_columns=columns[::per_image],
    )


def _prepare(
    model: Any, processor: Any, prompt: str | list[int], images: list[Image.Image]
) -> tuple[list[int], torch.Tensor | None]:
    if isinstance(prompt, str):
        encoded = processor(text=prompt, images=images or None, return_tensors="pt")
        return encoded["input_ids"][0].tolist(), encoded.get("pixel_values")
    pixel_values = processor.image_processor(images, return_tensors="pt")["pixel_values"] if images else None
    image_token = model.config.image_token_index
    repeat = _tokens_per_image(model) if prompt.count(image_token) == len(images) else 1
    return [token for t in prompt for token in [t] * (repeat if t == image_token else 1)], pixel_values


def _tokens_per_image(model: Any) -> int:
    vision = model.config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    return int(patches if model.config.vision_feature_select_strategy == "default" else patches + 1)


@lru_cache(maxsize=4)
def load_reference(path: str) -> tuple[Any, Any]:
    AttentionInterface.register("eah_reference", _eah_attention)
    AttentionMaskInterface.register("eah_reference", eager_mask)
    model = LlavaForConditionalGeneration.from_pretrained(
        path,
        dtype=torch.float32,
        attn_implementation={"text_config": "eah_reference", "vision_config": "eager"},
    )
    return model.eval(), AutoProcessor.from_pretrained(path)
