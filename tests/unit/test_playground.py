"""The playground's files and routes, without a browser and without an engine."""

from __future__ import annotations

import re
import tomllib
from argparse import Namespace
from typing import Any

import pytest
from eah_vllm_server.__main__ import main
from eah_vllm_server.hardening.edge.api_key import KeyForEveryPath
from eah_vllm_server.playground.routes import (
    MEDIA_TYPES,
    PAGE,
    POLICY,
    STATIC,
    example_pictures,
    files,
    is_served,
    open_paths,
    router,
)
from eah_vllm_server.verify.options import VerifyOptions
from fastapi import FastAPI

from eah_vllm import report
from eah_vllm.options import EAHOptions
from tests.unit.test_edge import ask
from tools import ROOT

SOURCES = sorted(path for path in STATIC.rglob("*") if path.suffix in (".html", ".js", ".css", ".svg"))
LANGUAGES = {name: (STATIC / "strings" / f"{name}.js").read_text() for name in ("en", "zh")}
CODE = {path.name: path.read_text() for path in SOURCES if path.parent.name != "strings"}


def strings(source: str) -> dict[str, str]:
    return dict(re.findall(r"^  (\w+): (\".*\"),$", source, re.M))


@pytest.fixture(scope="module")
def app() -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.include_router(router())
    return app


def test_every_file_is_served_with_its_type_and_under_a_strict_policy(app: FastAPI) -> None:
    for path, file in files().items():
        status, headers, body = ask(app, path, method="GET")
        assert (status, body) == (200, file.read_bytes()), path
        assert headers["content-type"] == MEDIA_TYPES[file.suffix]
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert ask(app, path, method="GET", if_none_match=headers["etag"])[::2] == (304, b"")
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert {directive.split()[0] for directive in POLICY.split("; ")} >= {"default-src", "frame-ancestors", "base-uri"}


@pytest.mark.parametrize(
    "name", ["nothing.js", "../routes.py", "routes.py", "strings", "//index.html", "pictures/../index.html", "\0"]
)
def test_no_other_file_is_served(app: FastAPI, name: str) -> None:
    assert ask(app, f"{PAGE}/{name}", method="GET")[0] == 404


def test_a_slash_too_many_leads_to_the_page(app: FastAPI) -> None:
    status, headers, _ = ask(app, f"{PAGE}/", method="GET")
    assert (status, headers["location"]) == (307, "../playground")


def test_the_page_wants_no_key_and_opens_no_other_path(app: FastAPI) -> None:
    closed = KeyForEveryPath(app, tokens=["key"])
    guarded = KeyForEveryPath(app, tokens=["key"], open_paths=open_paths())
    for path in files():
        assert ask(closed, path, method="GET")[0] == 401
        assert ask(guarded, path, method="GET")[0] == 200
    for path in ("/playground/nothing.js", "/playgrounds", "/v1/eah", "/tokenize"):
        assert ask(guarded, path, method="GET")[0] == 401


def test_it_is_on_unless_the_operator_says_false() -> None:
    assert is_served(None)
    assert is_served({"eah": {}})
    assert is_served({"eah_playground": True})
    assert not is_served({"eah_playground": False})


@pytest.mark.parametrize("value", ["no", 0, None, {}])
def test_another_value_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ValueError, match="--additional-config eah_playground: must be true or false, got"):
        is_served(Namespace(additional_config={"eah_playground": value}).additional_config)


def test_a_bad_value_ends_the_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["eah-vllm", "serve", "--additional-config", '{"eah_playground": "off"}'])
    monkeypatch.setenv("VLLM_PLUGINS", "eah")
    with pytest.raises(SystemExit):
        main()
    assert "eah_playground: must be true or false, got 'off'" in capsys.readouterr().err


def test_the_page_is_small_and_names_nobody_else() -> None:
    assert sum(path.stat().st_size for path in STATIC.rglob("*.*")) < 150_000
    for path in SOURCES:
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "http:" not in text, path
        assert "https:" not in text.replace("pages of https and", ""), path
        assert len(text.splitlines()) <= 200, path


def test_the_page_holds_no_script_and_no_style() -> None:
    page = CODE["index.html"]
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", page)
    loaded = set(re.findall(r'(?:href|src)="playground/([^"]+)"', page))
    assert loaded <= {path.removeprefix(f"{PAGE}/") for path in files()}
    modules = {path.relative_to(STATIC).as_posix() for path in SOURCES if path.suffix == ".js"}
    assert modules - loaded == {"inspector.js", "ladder.js", "grid.js", "heat.js"}, "loaded when the tab is shown"
    assert not [name for name, text in CODE.items() if "innerHTML" in text or "insertAdjacentHTML" in text]


def test_both_languages_have_the_same_texts() -> None:
    english, chinese = (strings(source) for source in LANGUAGES.values())
    assert len(english) > 100
    assert list(english) == list(chinese)
    for key, text in english.items():
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", chinese[key])), key
        assert re.search("[\u4e00-\u9fff、]", chinese[key]) or not re.search("[a-z]{4}", text) or "{" in text, key


def test_every_text_is_used_and_every_used_one_is_there() -> None:
    known = set(strings(LANGUAGES["en"]))
    code = "\n".join(CODE.values())
    named = set(re.findall(r'\bt\(\s*"(\w+)"', code)) | set(re.findall(r'data-t(?:-label)?"?[=:] ?"(\w+)"', code))
    assert named <= known, named - known
    quoted = set(re.findall(r'"(\w+)"', code))
    built = {key for key in known if re.match(r"(eah|verify|reason|sampling)_", key)}
    assert known <= quoted | built, known - quoted - built


def test_options_and_reasons_are_explained() -> None:
    known = set(strings(LANGUAGES["en"]))
    assert {f"eah_{name}" for name in EAHOptions.model_fields if name != "report"} <= known
    assert {f"verify_{name}" for name in VerifyOptions.model_fields} <= known
    reasons = [value for name, value in vars(report).items() if name.isupper() and isinstance(value, str)]
    assert {f"reason_{reason}" for reason in reasons} <= known


def test_the_wheel_holds_the_page_and_its_pictures() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "server/eah_vllm_server" in wheel["only-include"]
    assert wheel["sources"]["docs/images"] == "eah_vllm_server/playground/pictures"
    shipped = {path.removeprefix("docs/images/") for path in wheel["only-include"] if path.startswith("docs/")}
    pictures = set(re.findall(r'"(scene-\d+)"', CODE["picture.js"]))
    assert (
        {f"{name}.png" for name in pictures}
        == shipped
        == {path.name for path in example_pictures().glob("scene-*.png")}
    )
    assert {path.stem for path in (STATIC / "examples").iterdir()} == pictures
