"""Names of models: what is not served is not found, however like a served name it looks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.fuzz.case import COMPLETIONS, EITHER, FINE, RESPONSES, Case, as_json, chat

NOT_FOUND = (404,)
NAMES: dict[str, str] = {
    "alias twice": "scenes:eah:eah",
    "alias of nothing": "none:eah",
    "alias in capitals": "scenes:EAH",
    "name in capitals": "Scenes",
    "space before": " scenes",
    "space behind": "scenes ",
    "space in the alias": "scenes :eah",
    "space behind the alias": "scenes:eah ",
    "line end": "scenes\n",
    "tab": "scenes\t:eah",
    "NUL": "scenes\u0000",
    "NUL before the alias": "scenes\u0000:eah",
    "right to left": "\u202escenes",
    "right to left alias": "scenes\u202ehae:",
    "no-width space": "scenes\u200b:eah",
    "no-width joiner": "sce\u200dnes",
    "byte order mark": "\ufeffscenes",
    "full-width colon": "scenes\uff1aeah",
    "ratio for a colon": "scenes\u2236eah",
    "Cyrillic letters": "s\u0441\u0435nes",
    "Cyrillic alias": "scenes:\u0435\u0430\u04bb",
    "full-width letters": "\uff53\uff43\uff45\uff4e\uff45\uff53",
    "combining accent": "scenes:\u00e9ah",
    "emoji": "\U0001f642:eah",
    "a path": "../../etc/passwd",
    "an absolute path": "/etc/passwd:eah",
    "a URL": "http://127.0.0.1/m",
    "a lone colon": ":",
    "a template": "{{7*7}}",
    "a format": "%s%n{0}",
    "HTML": "<script>alert(1)</script>",
    "a quote": "scenes'\"--",
    "100000 letters": "a" * 100_000,
    "100000 aliases": "scenes" + ":eah" * 100_000,
    "a lone surrogate": "scenes\ud800",
    "a lone surrogate alias": "\ud800:eah",
    "digits": "0",
    "a noncharacter": "scenes\uffff",
    "eah": "eah",
    "line ends as headers": "scenes\r\nX-Injected: 1",
}
OTHERS: dict[str, Any] = {"a number": 5, "a list": ["scenes"], "an object": {"id": "scenes"}, "true": True}


def cases() -> Iterator[Case]:
    """All of them."""
    for name, model in NAMES.items():
        surrogate = "\ud800" in model
        yield Case(
            f"model: {name}",
            "model name",
            as_json(chat(model=model)),
            (400, 404) if surrogate else NOT_FOUND,
            ("model", "surrogates"),
        )
    for name, value in OTHERS.items():
        yield Case(f"model: {name}", "model name", as_json(chat(model=value)), mentions=("model",))
    served = "vLLM takes a request without a name for its only model"
    yield Case("model: missing", "model name", as_json(chat(model=...)), FINE, why=served)
    yield Case("model: null", "model name", as_json(chat(model=None)), FINE, why=served)
    for name, model in {"empty": "", "empty alias": ":eah"}.items():
        yield Case(f"model: {name}", "model name", as_json(chat(model=model)), EITHER + NOT_FOUND, why=served)
    for path, body in {COMPLETIONS: {"prompt": "dog"}, RESPONSES: {"input": "dog"}}.items():
        for name in ("alias twice", "a lone surrogate", "NUL before the alias"):
            surrogate = "\ud800" in NAMES[name]
            yield Case(
                f"model: {name}, {path}",
                "model name",
                as_json(body | {"model": NAMES[name]}),
                (400, 404) if surrogate else NOT_FOUND,
                path=path,
            )
