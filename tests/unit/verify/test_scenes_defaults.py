"""The built-in model's `verify.json` follows from its world, and its words find what its captions name."""

from __future__ import annotations

import json
import random

from eah_vllm_server.verify.options import server_defaults
from eah_vllm_server.verify.words import WordExtractor, read_objects

from eah_vllm.scenes import MODEL_PATH
from eah_vllm.scenes.captions import caption, presence_question
from eah_vllm.scenes.verify_defaults import verify_defaults
from eah_vllm.scenes.vocabulary import KINDS, NAMES
from eah_vllm.scenes.world import split_scenes


def test_the_shipped_file_is_the_one_that_the_world_says() -> None:
    shipped = json.loads((MODEL_PATH / "verify.json").read_text(encoding="utf-8"))
    assert shipped == verify_defaults()
    assert shipped["objects"] == list(KINDS)
    for name in NAMES:
        assert shipped["question"].replace("{object}", name) == presence_question(name, True).text
    defaults = server_defaults({}, str(MODEL_PATH))
    assert (defaults.objects, defaults.question, defaults.threshold) == tuple(shipped.values())


def test_its_words_find_what_captions_name() -> None:
    extractor = WordExtractor(read_objects(list(NAMES)))
    rng = random.Random(3)
    for scene in split_scenes("val", 40):
        named = [mention.object for mention in extractor.find_now(caption(scene, rng))]
        assert named == [thing.name for thing in scene.objects]
