"""The shipped checkpoint: small, complete, and it really captions."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoProcessor, LlavaForConditionalGeneration

from eah_vllm.scenes import EXAMPLES, MODEL_PATH
from eah_vllm.scenes.benchmark import hallucinated, score_captions
from eah_vllm.scenes.captions import CAPTION_REQUEST
from eah_vllm.scenes.tokenizer import CHAT_TEMPLATE, image_prompt
from eah_vllm.scenes.world import make_scene, split_scenes


@pytest.fixture(scope="module")
def captions() -> list[str]:
    model = LlavaForConditionalGeneration.from_pretrained(MODEL_PATH, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(MODEL_PATH)
    texts = []
    for scene in split_scenes("val", 25):
        inputs = processor(images=scene.pil(), text=image_prompt(CAPTION_REQUEST), return_tensors="pt")
        with torch.no_grad():
            tokens = model.generate(**inputs, max_new_tokens=80, do_sample=False)
        texts.append(processor.decode(tokens[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    return texts


def test_it_is_small_and_fp16() -> None:
    weights = MODEL_PATH / "model.safetensors"
    assert weights.stat().st_size <= 12e6
    with safe_open(weights, "pt") as file:
        assert all(file.get_slice(k).get_dtype() == "F16" for k in file.keys())  # noqa: SIM118 (not a dict)


def test_it_carries_its_own_eah_defaults() -> None:
    config = json.loads((MODEL_PATH / "config.json").read_text(encoding="utf-8"))
    assert config["eah"].keys() == {"layer", "methods", "relative_threshold"}
    assert config["eah"]["methods"] == "all"
    assert 0 <= config["eah"]["layer"] < config["text_config"]["num_hidden_layers"]
    assert config["eah"]["relative_threshold"] > 0


def test_it_ships_the_chat_template_and_a_card() -> None:
    assert (MODEL_PATH / "chat_template.jinja").read_text(encoding="utf-8") == CHAT_TEMPLATE
    assert "python -m eah_vllm.scenes train" in (MODEL_PATH / "README.md").read_text(encoding="utf-8")


def test_it_captions_unseen_scenes(captions: list[str]) -> None:
    scores = score_captions(captions, split_scenes("val", 25))
    assert scores["recall"] > 75
    assert scores["colours"] > 85


def test_it_hallucinates_as_large_models_do(captions: list[str]) -> None:
    assert any(hallucinated(text, scene) for text, scene in zip(captions, split_scenes("val", 25), strict=True))


def test_examples_show_every_theme() -> None:
    assert {make_scene(seed).theme for seed in EXAMPLES} == {"street", "park", "sea", "room"}
