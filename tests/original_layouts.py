"""Tiny checkpoints in the layouts of Shikra's and LLaVA's own code, and a plain forward pass of what these compute.

Nothing here is the product's: the pass is written from the models' public code, and tokens come from sentencepiece.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from tests.checkpoint_tokenizer import CORPUS

HIDDEN, SEEN, SIDE, PIECES = 256, 64, 56, 400
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)
ADDED = ("<im_patch>", "<im_start>", "<im_end>")
GAINS = {"q_proj": 1.5, "k_proj": 1.5, "v_proj": 1.5, "o_proj": 2.0, "lm_head": 4.0}
LLAMA: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@dataclass(frozen=True, slots=True)
class Original:
    """A checkpoint in an original layout."""

    folder: Path
    shikra: bool
    state: dict[str, torch.Tensor]

    def token_ids(self, text: str) -> list[int]:
        """Of a question about one picture, as the original code makes them."""
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(self.folder / "tokenizer.model"))
        if self.shikra:  # the slow tokenizer strips what stands beside a special token
            before, after = f"{SYSTEM} USER:", f"{text} ASSISTANT:"
            picture = [PIECES + 1, *[PIECES] * 16, PIECES + 2]
        else:
            before, after = f"{SYSTEM} USER: ", f"\n{text} ASSISTANT:"
            picture = [-200] * 16
        return [1, *pieces.encode(before), *picture, *pieces.encode(after)]

    def logits(self, text: str, image: Image.Image) -> torch.Tensor:
        """At the last prompt row, `[vocabulary]`."""
        names = {name: value for name, value in self.state.items() if "mm_projector" not in name}
        model = LlamaForCausalLM(LlamaConfig(**LLAMA, vocab_size=len(names["lm_head.weight"])))
        model.load_state_dict(names)
        tower = CLIPVisionModel.from_pretrained(self.folder / "clip", attn_implementation="eager")
        processor = CLIPImageProcessor.from_pretrained(self.folder / "clip")
        side = max(image.size)
        fill = (255, 255, 255) if self.shikra else tuple(int(255 * mean) for mean in processor.image_mean)
        square = Image.new("RGB", (side, side), fill)
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        pixels = processor(square, return_tensors="pt")["pixel_values"]
        ids = self.token_ids(text)
        with torch.inference_mode():
            seen = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
            embeddings = model.get_input_embeddings()(torch.tensor([ids]).clamp(min=0))
            where = torch.tensor(ids) == (PIECES if self.shikra else -200)
            embeddings[0, where] = self._project(seen)[0]
            out: torch.Tensor = model(inputs_embeds=embeddings).logits[0, -1]
        return out

    def _project(self, seen: torch.Tensor) -> torch.Tensor:
        state = {name.removeprefix("model.mm_projector."): value for name, value in self.state.items()}
        if self.shikra:
            return torch.nn.functional.linear(seen, state["weight"], state["bias"])
        between = torch.nn.functional.gelu(torch.nn.functional.linear(seen, state["0.weight"], state["0.bias"]))
        return torch.nn.functional.linear(between, state["2.weight"], state["2.bias"])


def make_original(folder: Path, *, shikra: bool, binary: bool = False) -> Original:
    """Write a checkpoint, with its vision tower in `clip/`; `binary` writes `pytorch_model.bin`."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab_size = PIECES + (len(ADDED) if shikra else 0)
    _write_tokenizer(folder, shikra)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**LLAMA, vocab_size=vocab_size))
        tower = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=SEEN,
                intermediate_size=128,
                num_hidden_layers=3,
                num_attention_heads=2,
                image_size=SIDE,
                patch_size=14,
            )
        )
        parts = [("", SEEN)] if shikra else [("0.", SEEN), ("2.", HIDDEN)]
        state = dict(model.state_dict())
        for part, width in parts:
            state[f"model.mm_projector.{part}weight"] = torch.empty(HIDDEN, width)
            state[f"model.mm_projector.{part}bias"] = torch.randn(HIDDEN) * 0.1
        for name, weight in (*state.items(), *tower.state_dict().items()):
            if weight.dim() > 1 and weight.is_floating_point():
                gain = next((gain for key, gain in GAINS.items() if key in name and name in state), 1.0)
                fan_in = 1 if "embed_tokens" in name else weight[0].numel()
                weight.normal_(0, gain * fan_in**-0.5)
        for weight in (state["lm_head.weight"],):
            weight[: 3 + 256] = 0  # special tokens and bytes
            weight[PIECES:] = 0
    tower.save_pretrained(folder / "clip")
    square = {"height": SIDE, "width": SIDE}
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=square).save_pretrained(folder / "clip")
    config = LLAMA | {
        "architectures": ["ShikraLlamaForCausalLM" if shikra else "LlavaLlamaForCausalLM"],
        "model_type": "shikra" if shikra else "llava",
        "vocab_size": vocab_size,
        "mm_vision_tower": str(folder / "clip"),
        "mm_hidden_size": SEEN,
        "mm_vision_select_layer": -2,
        "mm_use_im_start_end": shikra,
        "use_mm_proj": True,
        "pad_token_id": 0,
        "torch_dtype": "float32",
    }
    if not shikra:
        config |= {"mm_projector_type": "mlp2x_gelu", "image_aspect_ratio": "pad", "mm_vision_select_feature": "patch"}
    (folder / "config.json").write_text(json.dumps(config))
    original = Original(folder, shikra, state)
    write_state(original, binary=binary)
    return original


def write_state(original: Original, state: dict[str, torch.Tensor] | None = None, *, binary: bool = False) -> None:
    """Write the weights, or others in their place."""
    # Old versions of transformers saved this too.
    saved = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(16)} | (state or original.state)
    if binary:
        torch.save(saved, original.folder / "pytorch_model.bin")
    else:
        copied = {name: weight.clone() for name, weight in saved.items()}
        save_file(copied, original.folder / "model.safetensors", metadata={"format": "pt"})


def wide_picture(seed: int) -> Image.Image:
    """As wide as the tower's pictures, so that no pixel is resized, and less high."""
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((SIDE, 40), Image.Resampling.NEAREST)


def _write_tokenizer(folder: Path, shikra: bool) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*CORPUS, SYSTEM]),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=PIECES,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if shikra:
        added = {token: PIECES + idx for idx, token in enumerate(ADDED)}
        (folder / "added_tokens.json").write_text(json.dumps(added))
