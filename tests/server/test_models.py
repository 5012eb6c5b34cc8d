"""Over HTTP: a family with a row, and an architecture without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import random_image
from tests.models.family import Family, make_checkpoint
from tests.models.qwen_families import GLM_OCR, QWEN25_VL
from tests.models.reference import Reference
from tools.serving import SMALL, Server, image_message

IMAGE = random_image(20, 112)
QUESTION = "Please describe this image in detail."
EAH: dict[str, Any] = {"layer": 1, "relative_threshold": 1.25}


def start(family: Family, path: Path) -> Server:
    make_checkpoint(family, path)
    return Server([str(path), "--served-model-name", "tiny", *SMALL])


def chat(server: Server, eah: dict[str, Any] | None) -> Any:
    body: dict[str, Any] = {"ignore_eos": True, "return_token_ids": True}
    return server.client.chat.completions.create(
        model="tiny",
        messages=image_message(IMAGE, QUESTION),
        temperature=0,
        max_tokens=8,
        extra_body=body if eah is None else body | {"eah": eah},
    )


def capabilities(server: Server) -> dict[str, Any]:
    status, body = server.get("/v1/eah")
    assert status == 200
    found: dict[str, Any] = json.loads(body)
    return found


def test_a_family_with_a_row(tmp_path: Path) -> None:
    reference = Reference(QWEN25_VL, tmp_path)
    with start(QWEN25_VL, tmp_path) as server:
        prompt = QWEN25_VL.prompt(f"USER: {{image}}\n{QUESTION} ASSISTANT:")
        on, off = (reference.generate(prompt, [IMAGE], eah, 8) for eah in (EAH, None))
        assert on.tokens != off.tokens
        answer = chat(server, EAH | {"report": True})
        assert answer.prompt_token_ids == on.prompt_token_ids
        assert list(answer.choices[0].token_ids) == on.tokens
        assert answer.eah["layers"] == [on.report[0].as_report() | {"density": pytest.approx(on.report[0].density)}]
        assert list(chat(server, None).choices[0].token_ids) == off.tokens

        said = capabilities(server)
        assert said["row"]["architecture"] == QWEN25_VL.architecture
        assert said["row"]["verdict"] == "tested here"
        assert said["defaults"]["relative_threshold"] == said["row"]["start"]["relative_threshold"] == 1.25


def test_an_architecture_without_a_row(tmp_path: Path) -> None:
    with start(GLM_OCR, tmp_path) as server:
        said = capabilities(server)
        assert (said["supported"], said["reason"]) == (False, "unsupported_model")
        assert "any_model" in said["row"]["note"]
        on, off = chat(server, EAH | {"report": True}), chat(server, None)
        assert list(on.choices[0].token_ids) == list(off.choices[0].token_ids)
        assert (on.eah["applied"], on.eah["reason"]) == (False, "unsupported_model")
        assert '{"eah": {"any_model": true}}' in on.eah["detail"]
