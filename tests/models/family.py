"""Makes a tiny random checkpoint of any family that transformers knows, with the family's own processor, offline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, PreTrainedModel, PreTrainedTokenizerFast

from tests.checkpoint_tokenizer import (
    BOS_TOKEN_ID,
    CHAT_TEMPLATE,
    EOS_TOKEN_ID,
    PAD_TOKEN_ID,
    make_tokenizer,
    tokens_never_generated,
)

VOCAB_SIZE, CORPUS_TOKENS = 384, 336
HEADS, HEAD_DIM, HIDDEN = 8, 32, 256
Ids = Callable[[str], int]

TEXT: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": HIDDEN,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "head_dim": HEAD_DIM,
    "max_position_embeddings": 4096,
    "bos_token_id": BOS_TOKEN_ID,
    "eos_token_id": EOS_TOKEN_ID,
    "pad_token_id": PAD_TOKEN_ID,
    "tie_word_embeddings": False,
}
"""The language model of every family, in the words of its configuration."""


@dataclass(frozen=True, slots=True)
class Family:
    """One family: how its checkpoint is made, and how its prompts are written."""

    architecture: str
    config: Callable[[Ids], Any]
    """Makes the family's own configuration from the IDs of special tokens."""
    processor: Callable[[PreTrainedTokenizerFast], Any]
    """Makes the family's own processor around a tokenizer."""
    image: str
    """What stands for a picture in a prompt."""
    image_token: str
    """The token of which an expanded prompt has one for each image token."""
    specials: Mapping[str, str] = field(default_factory=dict)
    """Special tokens, by the name of the tokenizer's attribute that holds them."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Beginnings of weights' names in the file that transformers 5 writes, and in public checkpoints."""
    transposed: tuple[str, ...] = ()
    """Ends of names of weights whose last two dimensions public checkpoints have the other way round."""
    layers: tuple[int, int] = (0, 1)
    """Two layers that EAH can change."""
    refused: Mapping[int, str] = field(default_factory=dict)
    """Layers that EAH cannot change, and why."""
    image_tokens: int = 0
    """Image tokens of a picture of 112 x 84 pixels: of its tiles and its thumbnail, with newline embeddings."""
    between: tuple[str, ...] = ()
    """Tokens between a picture's image tokens, which do not count."""
    max_images: int = 3
    """Most pictures of a prompt."""
    model: type[PreTrainedModel] | None = None
    """The class that makes the weights and is the reference, where transformers has none of the architecture's name."""
    remote_code: bool = False
    """Whether the checkpoint brings classes of its own, so that vLLM has to be allowed to run them."""
    publish: Callable[[Path, Path], None] | None = None
    """Writes a second checkpoint, which vLLM serves, after the one that transformers wrote and reads."""
    image_of_reference: str | None = None
    """What stands for a picture in the reference's prompt, if something else."""
    text_config: str = "text_config"
    """Where the language model's configuration stands in the whole one; empty: in its midst."""
    load_processor: Callable[[Path], Any] = AutoProcessor.from_pretrained
    """Reads the reference's processor."""

    def prompt(self, form: str) -> str:
        return form.format(image=self.image)

    def model_class(self) -> Any:
        return self.model or getattr(transformers, self.architecture)


def make_checkpoint(family: Family, path: Path, seed: int = 0) -> Path:
    """Write a checkpoint in which heads differ much and the best token leads clearly; see `tests/checkpoints.py`."""
    plain = make_tokenizer(CORPUS_TOKENS)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=dict(family.specials),
    )
    assert len(tokenizer) <= VOCAB_SIZE
    tokenizer.chat_template = CHAT_TEMPLATE.replace("<image>", family.image)
    family.processor(tokenizer).save_pretrained(path)
    config = family.config(tokenizer.convert_tokens_to_ids)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = family.model_class()(config)
    _randomise(model, seed)
    never = {*tokens_never_generated(tokenizer, VOCAB_SIZE), *tokenizer.all_special_ids}
    with torch.no_grad():
        model.get_output_embeddings().weight[sorted(never)] = 0
    model.save_pretrained(path)
    _publish(path / "model.safetensors", family)
    return path


def folder_to_serve(family: Family, path: Path) -> Path:
    """Return the checkpoint that vLLM serves: the one that transformers wrote, or one that is published from it."""
    if family.publish is None:
        return path
    family.publish(path, path / "published")
    return path / "published"


def _randomise(model: Any, seed: int) -> None:
    gains = {"q_proj": 1.5, "k_proj": 1.5, "v_proj": 1.5, "o_proj": 2.0, "lm_head": 4.0}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            is_text = "vision" not in name and "visual" not in name
            if is_text and name.endswith(("q_norm.weight", "k_norm.weight")):
                weight.fill_(1.5)  # these norms flatten attention
            if weight.dim() < 2 or "norm" in name:
                continue
            fan_in = weight[0].numel() if "embed" not in name or "patch" in name else 1
            gain = next((gain for key, gain in gains.items() if key in name), 1.0) if is_text else 1.0
            if is_text and "embed_tokens" in name and model.config.get_text_config().tie_word_embeddings:
                gain = 0.1  # it is the output embedding too, and logits of hundreds would hide small differences
            weight.normal_(0, gain * fan_in**-0.5, generator=generator)


def _publish(file: Path, family: Family) -> None:
    """Write the weights as public checkpoints have them."""
    if family.renamed or family.transposed:
        found = load_file(file)
        names = {
            name: next((new + name[len(old) :] for old, new in family.renamed if name.startswith(old)), name)
            for name in found
        }
        weights = {
            names[name]: weight.transpose(-1, -2).contiguous() if name.endswith(family.transposed) else weight
            for name, weight in found.items()
        }
        save_file(weights, file, metadata={"format": "pt"})
