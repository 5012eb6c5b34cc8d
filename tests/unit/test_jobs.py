"""The names in `tests/jobs.py` are those of files, or a file that is renamed would lose its place unseen."""

from __future__ import annotations

from tests.jobs import FIRST, TESTS, unit


def test_every_name_is_that_of_a_file() -> None:
    assert [name for name in FIRST if not (TESTS / name).is_file()] == []
    assert len(set(FIRST)) == len(FIRST)


def test_files_that_share_a_server_are_one_unit_and_others_are_alone() -> None:
    assert unit("tests/server/test_pages.py") == unit("tests/server/test_captioning.py") == "eah-vllm serve"
    assert unit("tests/server/test_soak.py") == "server/test_soak.py"
