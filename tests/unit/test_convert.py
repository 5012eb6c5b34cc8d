"""`eah-vllm convert`: what a converted checkpoint computes is what the original does, and what is refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from eah_vllm.convert.command import main
from eah_vllm.convert.converting import convert
from eah_vllm.convert.error import ConvertError
from eah_vllm.convert.layouts import LAYOUTS
from eah_vllm.convert.tensors import Tensors, write
from tests.original_layouts import LLAMA, PIECES, Original, make_original, wide_picture, write_state

QUESTION = "What colour is the cup?"
MESSAGES = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]


def assert_computes_the_same(original: Original, converted: Path) -> None:
    processor = AutoProcessor.from_pretrained(converted)
    text = processor.apply_chat_template(MESSAGES, add_generation_prompt=True)
    image = wide_picture(0)
    inputs = processor(text=text.removeprefix("<s>"), images=image, return_tensors="pt")
    image_token = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    expected = [image_token if token == -200 else token for token in original.token_ids(QUESTION)]
    assert inputs["input_ids"][0].tolist() == expected
    assert processor.tokenizer(text, add_special_tokens=False).input_ids.count(image_token) == 1

    model = AutoModelForImageTextToText.from_pretrained(converted, dtype=torch.float32)
    with torch.inference_mode():
        logits = model(**inputs).logits[0, -1]
    wanted = original.logits(QUESTION, image)
    assert float(wanted.std()) > 0.5
    assert (logits[: len(wanted)] - wanted).abs().max() < 1e-3
    assert logits[len(wanted) :].tolist() == pytest.approx(
        [float(wanted.mean())] * (len(logits) - len(wanted)), abs=1e-3
    )


def test_logits_are_shikras(tmp_path: Path) -> None:
    original = make_original(tmp_path / "src", shikra=True)
    command = [str(Path(sys.executable).with_name("eah-vllm")), "convert", "shikra"]
    subprocess.run([*command, original.folder, tmp_path / "dst"], check=True)
    assert_computes_the_same(original, tmp_path / "dst")


def test_logits_are_llavas(tmp_path: Path) -> None:
    original = make_original(tmp_path / "src", shikra=False, binary=True)
    assert main(["llava", str(original.folder), str(tmp_path / "dst")]) == 0
    assert_computes_the_same(original, tmp_path / "dst")


def test_a_checkpoint_may_hold_its_vision_tower(tmp_path: Path) -> None:
    """As LLaVA-1.5's do; the named tower then gives the geometry alone."""
    original = make_original(tmp_path / "src", shikra=False)
    named = load_file(original.folder / "clip" / "model.safetensors")
    own = {name: torch.randn(weight.shape) for name, weight in named.items()}
    prefix = "model.vision_tower.vision_tower.vision_model."
    write_state(original, original.state | {prefix + name.removeprefix("vision_model."): own[name] for name in own})
    convert(LAYOUTS["llava"], original.folder, tmp_path / "dst")
    save_file(own, original.folder / "clip" / "model.safetensors", metadata={"format": "pt"})
    assert_computes_the_same(original, tmp_path / "dst")


def test_every_message_of_a_conversation_has_the_originals_tokens(tmp_path: Path) -> None:
    """The original tokenizers put a space before every text, after special tokens too."""
    for name in LAYOUTS:
        original = make_original(tmp_path / name, shikra=name == "shikra")
        convert(LAYOUTS[name], original.folder, tmp_path / f"{name} converted")
        tokenizer = AutoProcessor.from_pretrained(tmp_path / f"{name} converted").tokenizer
        messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What colour is it?"},
            {"role": "assistant", "content": "Green."},
            {"role": "user", "content": [{"type": "text", "text": "Where is it?"}]},
        ]
        got = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(original.folder / "tokenizer.model"))
        first = pieces.encode("Be brief. USER: What colour is it? ASSISTANT: Green.")
        assert got == [1, *first, 2, *pieces.encode("USER: Where is it? ASSISTANT:")]


def test_a_delta_is_added_to_its_base(tmp_path: Path) -> None:
    original = make_original(tmp_path / "src", shikra=True)
    base = {
        name: weight[:PIECES] if name.endswith(("embed_tokens.weight", "lm_head.weight")) else weight
        for name, weight in ((name, torch.randn(weight.shape)) for name, weight in original.state.items())
        if "mm_projector" not in name
    }
    base["model.norm.weight"] = torch.ones(LLAMA["hidden_size"])
    delta = {name: weight.clone() for name, weight in original.state.items()}
    for name, weight in base.items():
        delta[name][: len(weight)] -= weight
    write_state(original, delta)
    (tmp_path / "base").mkdir()
    torch.save(base, tmp_path / "base" / "pytorch_model.bin")

    with pytest.raises(ConvertError, match="name that LLaMA with --base"):
        convert(LAYOUTS["shikra"], original.folder, tmp_path / "dst")
    assert not (tmp_path / "dst").exists()
    convert(LAYOUTS["shikra"], original.folder, tmp_path / "dst", base=tmp_path / "base")
    assert_computes_the_same(original, tmp_path / "dst")

    write_state(original)
    with pytest.raises(ConvertError, match="--base would spoil them"):
        convert(LAYOUTS["shikra"], original.folder, tmp_path / "again", base=tmp_path / "base")


def without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda found: {one: value for one, value in found.items() if one != name}


BAD_TENSORS = {
    "tensor 'model.layers.1.mlp.up_proj.weight' is missing": without("model.layers.1.mlp.up_proj.weight"),
    "tensor 'model.mm_projector.bias' is missing": without("model.mm_projector.bias"),
    "has a tensor 'model.resampler.query' for which": lambda found: found | {"model.resampler.query": torch.ones(2)},
    r"'model.mm_projector.weight' of .* must have shape \[256, 64\], not \[256, 32\]": (
        lambda found: found | {"model.mm_projector.weight": torch.ones(256, 32)}
    ),
}
BAD_FIELDS = {
    "model_type in .* may be 'shikra', not 'llava'": lambda found: found | {"model_type": "llava"},
    "hidden_size in .* must be a number, not None": without("hidden_size"),
    "may be no value, 'linear', 'mlp2x_gelu', not 'mlp3x_gelu'": lambda found: (
        found | {"mm_projector_type": "mlp3x_gelu"}
    ),
    "mm_vision_tower is missing in .*--vision-tower": without("mm_vision_tower"),
    "the vision tower 'no/such/tower' cannot be read": lambda found: found | {"mm_vision_tower": "no/such/tower"},
    "has hidden_size 64, and the projector takes 32": lambda found: found | {"mm_hidden_size": 32},
    "has 403 tokens, and vocab_size is 402": lambda found: found | {"vocab_size": 402},
}


@pytest.fixture(scope="module")
def shikra(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return make_original(tmp_path_factory.mktemp("shikra"), shikra=True)


@pytest.mark.parametrize("message", list(BAD_TENSORS))
def test_a_wrong_tensor_is_named(message: str, shikra: Original, tmp_path: Path) -> None:
    write_state(shikra, BAD_TENSORS[message](shikra.state))
    try:
        with pytest.raises(ConvertError, match=message):
            convert(LAYOUTS["shikra"], shikra.folder, tmp_path / "dst")
    finally:
        write_state(shikra)
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("message", list(BAD_FIELDS))
def test_a_wrong_field_is_named(message: str, shikra: Original, tmp_path: Path) -> None:
    file = shikra.folder / "config.json"
    kept = file.read_text()
    found = BAD_FIELDS[message](json.loads(kept))
    file.write_text(json.dumps(found))
    if "vocab_size" in message:
        more = {name: torch.zeros(402, 256) for name in ("model.embed_tokens.weight", "lm_head.weight")}
        write_state(shikra, shikra.state | more)
    try:
        with pytest.raises(ConvertError, match=message):
            convert(LAYOUTS["shikra"], shikra.folder, tmp_path / "dst")
    finally:
        file.write_text(kept)
        write_state(shikra)
    assert not (tmp_path / "dst").exists()


def test_refused_in_the_command(shikra: Original, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("kept")
    for source, why in ((shikra.folder, "must be an empty folder"), (tmp_path, "it has no config.json")):
        target = tmp_path if source != tmp_path else tmp_path / "dst"
        with pytest.raises(SystemExit, match="2"):
            main(["shikra", str(source), str(target)])
        assert why in capsys.readouterr().err


def test_shards(tmp_path: Path) -> None:
    """A checkpoint that fills several files is read back whole."""
    weights = {f"weight.{idx}": torch.full((4,), float(idx)) for idx in range(5)}
    write(tmp_path, weights.items(), shard_bytes=32)
    assert len(list(tmp_path.glob("model-*-of-00003.safetensors"))) == 3
    read = Tensors(tmp_path)
    assert {name: read.read(name).tolist() for name in read} == {name: one.tolist() for name, one in weights.items()}
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 5 * 16
    assert set(index["weight_map"]) == set(weights)
