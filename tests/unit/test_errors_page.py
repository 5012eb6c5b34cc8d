"""docs/errors.md says what the code says: every message of it stands in the source, and no reason is missing."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from eah_vllm_server.verify import report as verify_report

from eah_vllm import report
from tests.printed import VARIES, messages, rows, text_of
from tools import ROOT

PAGE = "docs/errors.md"
COLUMNS = ("message", "status, message", "`reason`, `error`")
OF_PYDANTIC = "Input should be "
NAMES = r"\{object\}|\b(?:words|nouns|model|eah|EAH|verify|extra_body|head|length_penalty)\b"
"""Names that stand in the code as values."""
SHORTEST = 8
"""Shorter pieces between the parts that vary ("of", "got") say nothing."""


@cache
def literals() -> str:
    """Every text in the source of the product, pieces of f-strings one by one, without the marks around names."""
    found = []
    for tree in ("eah_vllm", "server"):
        for file in sorted((ROOT / tree).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value.replace("`", ""))
    return "\n".join(found)


def pieces(message: str) -> list[str]:
    """What of a message does not vary: no field before a colon, no name of a method, no value."""
    without_field = re.sub(r"^[\w.]+: ", VARIES, message)
    parts = re.split(rf"\.\.\.|[:;] |, got\b|{NAMES}", without_field)  # a message may be made of several texts
    return [part.strip() for part in parts if len(part.strip()) >= SHORTEST and OF_PYDANTIC not in part]


ALL = [message for column in COLUMNS for message in messages(PAGE, column)]


@pytest.mark.parametrize("message", ALL)
def test_every_message_stands_in_the_source(message: str) -> None:
    missing = [piece for piece in pieces(message) if piece not in literals()]
    assert not missing, f"the code no longer says so: correct the row of {PAGE}"


def test_the_page_has_its_tables() -> None:
    said = [message for message in ALL if pieces(message)]
    assert {message for message in ALL if message not in said and OF_PYDANTIC not in message} == {"caption", "no_text"}
    assert len(ALL) > 90
    assert all(set(row.values()) != {""} for row in rows(PAGE))


def test_every_reason_has_a_row() -> None:
    named = {row["`reason`"].strip("`") for row in rows(PAGE) if "`reason`" in row}
    reasons = {value for name, value in vars(report).items() if name.isupper() and isinstance(value, str)}
    assert named == reasons


def test_every_reason_of_a_check_has_a_row() -> None:
    named = " ".join(row["`reason`, `error`"] for row in rows(PAGE) if "`reason`, `error`" in row)
    assert all(f"`{reason}`" in named for reason in (verify_report.NO_IMAGE, verify_report.NO_TEXT))


def test_options_md_says_where_the_reasons_are() -> None:
    assert "errors.md#answered-without-eah" in text_of("docs/options.md")
