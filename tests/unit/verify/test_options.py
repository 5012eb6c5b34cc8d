"""Options of a check: the request's, over the server's, over the checkpoint's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eah_vllm_server.verify.options import QUESTION, parse_verify, read_section, resolve, server_defaults

from eah_vllm.options import OptionError


def defaults(folder: Path, server: dict[str, Any], checkpoint: dict[str, Any]) -> Any:
    (folder / "verify.json").write_text(json.dumps(checkpoint))
    return server_defaults({"eah": {}, "verify": server}, str(folder))


def test_the_request_comes_before_the_server_before_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = {"threshold": 0.1, "objects": ["dog"], "max_mentions": 3}
    held = defaults(tmp_path, {"threshold": 0.2, "yes": ["oui"]}, checkpoint)
    assert (held.threshold, held.objects, held.yes, held.no) == (0.2, ["dog"], ["oui"], ["no"])
    asked = resolve(parse_verify({"threshold": 0.3}), held)
    assert (asked.threshold, asked.max_mentions, asked.action, asked.question) == (0.3, 3, "report", QUESTION)
    assert server_defaults({}, str(tmp_path / "nowhere")).objects is None


def test_who_names_objects_wants_those_found(tmp_path: Path) -> None:
    held = defaults(tmp_path, {"extractor": "model"}, {})
    assert resolve(parse_verify({}), held).extractor == "model"
    assert resolve(parse_verify({"objects": ["dog"]}), held).extractor == "words"
    assert resolve(parse_verify({"objects": ["dog"], "extractor": "model"}), held).extractor == "model"


def test_options_of_best_of_belong_to_best_of(tmp_path: Path) -> None:
    held = defaults(tmp_path, {"n": 7, "rewrite": True}, {})
    assert not resolve(parse_verify({}), held).rewrites, "a server's default of another action changes nothing"
    best = resolve(parse_verify({"action": "best_of"}), held)
    assert (best.n, best.rewrites) == (7, True)
    with pytest.raises(OptionError, match=r'verify.rewrite: belongs to action "best_of", got action "rewrite"'):
        resolve(parse_verify({"action": "rewrite", "rewrite": True}), held)


def test_words_need_a_list(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="needs a list of objects, and this server has none"):
        resolve(parse_verify({"extractor": "words"}), defaults(tmp_path, {}, {}))


def test_a_bad_default_says_where_it_stands(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--additional-config verify.treshold: unknown option; known are action"):
        read_section({"verify": {"treshold": 1}})
    with pytest.raises(ValueError, match=r"--additional-config verify: must be true, false or an object.*got 3"):
        read_section({"verify": 3})
    with pytest.raises(ValueError, match=r"verify.json.threshold: .*less than or equal to 1, got 2"):
        defaults(tmp_path, {}, {"threshold": 2})


@pytest.mark.parametrize(
    "fields",
    [{"threshold": True}, {"threshold": "0.5"}, {"max_mentions": 2.0}, {"n": 1}, {"n": 17}, {"yes": []}, {"yes": [""]}],
    ids=str,
)
def test_types_are_those_of_json_and_bounds_hold(fields: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as refused:
        parse_verify(fields)
    assert refused.value.field == f"verify.{next(iter(fields))}"
