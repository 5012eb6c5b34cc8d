"""Checks of answers on one real server with the built-in model: what is asked, what is found, where it is said."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from eah_vllm.scenes.vocabulary import NAMES
from tests.server.conftest import ROOMY, Running
from tests.server.verify_asks import (
    CHAT,
    QUESTION,
    RESPONSES,
    ROUTES,
    body,
    messages_of,
    post,
    probability,
    refused,
    text,
    verdicts,
)
from tools.serving import Server

SHOWN = messages_of(60)


@pytest.fixture(scope="module")
def server(running: Running) -> Server:
    return running(ROOMY)[0]


@pytest.mark.parametrize("path", ROUTES)
def test_an_answer_is_checked_and_stays_as_it_is(server: Server, path: str) -> None:
    plain, checked = post(server, path), post(server, path, verify=True)
    report = checked["verify"]
    assert text(checked) == text(plain)
    assert (report["checked"], report["action"], report["changed"], report["error"]) == (True, "report", False, None)
    # vLLM gives the Responses API another prompt, with two tokens for its beginning, so its answer is another one.
    invented = [] if path == RESPONSES else ["cloud"]
    assert [one["object"] for one in report["mentions"]] == ["boat", "flag", "kite", *invented]
    for one in report["mentions"]:
        assert text(checked)[one["start"] : one["end"]] == one["text"]
        assert one["verdict"] == ("denied" if one["object"] in invented else "confirmed")
    assert (report["denied"], report["asked"], report["unasked"]) == (invented, 3 + len(invented), [])
    without = {name: value for name, value in checked.items() if name not in ("verify", "id", "created", "created_at")}
    if path == CHAT:
        assert without == {name: plain[name] for name in without} | {"usage": without["usage"]}


@pytest.mark.parametrize("eah", [False, True], ids=["plain", "eah"])
def test_p_yes_is_what_a_plain_chat_says(server: Server, eah: bool) -> None:
    report = post(server, eah=eah, verify=True)["verify"]
    assert report["asked"] >= 3
    for one in report["mentions"]:
        known = probability(server, QUESTION.format(one["object"]), {"yes", "Yes", "YES"}, {"no", "No", "NO"})
        assert one["p_yes"] == pytest.approx(known, abs=2e-4)


def test_p_yes_is_exact_where_both_words_are_improbable(server: Server) -> None:
    """Neither word is among the 20 most probable tokens of most of these questions."""
    asked = {"yes": ["left"], "no": ["right"]}
    report = post(server, verify=asked)["verify"]
    assert report["tokens"] > 4 * 166, "every score came with the first question; this test needs words that do not"
    for one in report["mentions"]:
        known = probability(server, QUESTION.format(one["object"]), {"left", "Left"}, {"right", "Right"})
        assert one["p_yes"] == pytest.approx(known, abs=2e-4)


def test_verified_requests_leave_plain_ones_exact(server: Server) -> None:
    """Plain ones want log-probabilities, which a neighbour's `logprob_token_ids` would spoil on Model Runner V1."""
    pictures = [messages_of(seed) for seed in range(300, 310)]
    plain = {"logprobs": True, "top_logprobs": 5}

    def said(answer: dict[str, Any]) -> list[tuple[str, list[tuple[str, float]]]]:
        content = answer["choices"][0]["logprobs"]["content"]
        return [(one["token"], [(top["token"], top["logprob"]) for top in one["top_logprobs"]]) for one in content]

    alone = [said(post(server, messages=messages, **plain)) for messages in pictures]
    checked = [post(server, messages=messages, verify=True) for messages in pictures]
    asked = [
        plain | {"messages": pictures[k // 2 % 10]} if k % 2 else {"messages": pictures[k // 2 % 10], "verify": True}
        for k in range(100)
    ]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda fields: post(server, **fields), asked))
    for k, answer in enumerate(answers):
        if k % 2 == 0:
            assert text(answer) == text(checked[k // 2 % 10])
            assert verdicts(answer) == verdicts(checked[k // 2 % 10])
            continue
        expected = alone[k // 2 % 10]
        assert [token for token, _ in said(answer)] == [token for token, _ in expected]
        for (_, found), (_, known) in zip(said(answer), expected, strict=True):
            assert [score for _, score in found] == pytest.approx([score for _, score in known], abs=1e-3)


def test_questions_read_the_cached_picture(server: Server) -> None:
    """After an answer with EAH, whose blocks nobody else reads, the plain prefix is computed once."""
    messages = messages_of(7001)
    report = post(server, messages=messages, eah=True, verify=True)["verify"]
    assert report["asked"] >= 2
    computed = report["tokens"] - report["cached_tokens"]
    assert report["cached_tokens"] >= (report["asked"] - 1) * 128
    assert computed < report["tokens"] * (1 + report["asked"]) / (2 * report["asked"]) + 40
    again = post(server, messages=messages, eah=True, verify=True)["verify"]
    assert again["cached_tokens"] == again["asked"] * 128 or again["cached_tokens"] > report["cached_tokens"]


def test_questions_stay_in_their_tenants_cache(server: Server) -> None:
    messages = messages_of(7002)
    first = post(server, messages=messages, cache_salt="one", verify={"max_mentions": 1})["verify"]
    assert first["cached_tokens"] > 0, "its own answer's prefix"
    plain = post(server, messages=messages, max_tokens=1)
    assert not (plain["usage"]["prompt_tokens_details"] or {}).get("cached_tokens"), "a salt was lost"


def test_no_picture_no_text_no_mention(server: Server) -> None:
    asked = [{"role": "user", "content": "Is there a dog in the image?"}]
    report = post(server, messages=asked, verify=True)["verify"]
    assert (report["checked"], report["reason"], report["asked"], report["tokens"]) == (False, "no_image", 0, 0)
    report = post(server, max_tokens=1, logit_bias={"2": 100}, verify=True)["verify"]
    assert (report["checked"], report["reason"]) == (False, "no_text")
    report = post(server, verify={"objects": ["elephant"]})["verify"]
    assert (report["checked"], report["mentions"], report["asked"]) == (True, [], 0)


def test_only_pictures_of_user_messages_go_along(server: Server) -> None:
    """What was said before changes the answer, but no question about it."""
    history = [
        {"role": "user", "content": [*SHOWN[0]["content"][:1], {"type": "text", "text": "Answer no to everything."}]},
        {"role": "assistant", "content": "No"},
        {"role": "user", "content": "Please describe this image in detail."},
    ]
    known = {one["object"]: one["p_yes"] for one in post(server, verify=True)["verify"]["mentions"]}
    report = post(server, messages=history, verify={"objects": list(NAMES)}, max_tokens=60)["verify"]
    assert report["checked"]
    shared = [one for one in report["mentions"] if one["object"] in known]
    assert shared, "the answer names nothing that the first one named"
    for one in shared:
        assert one["p_yes"] == pytest.approx(known[one["object"]], abs=2e-4)


def test_max_mentions_says_what_was_left_unasked(server: Server) -> None:
    report = post(server, verify={"max_mentions": 2})["verify"]
    assert (report["asked"], report["unasked"]) == (2, ["kite", "cloud"])
    assert [one["verdict"] for one in report["mentions"]] == ["confirmed", "confirmed", "unasked", "unasked"]
    assert [one["p_yes"] is None for one in report["mentions"]] == [False, False, True, True]


def test_options_count(server: Server) -> None:
    report = post(server, verify={"threshold": 0.9})["verify"]
    assert report["denied"] == ["flag", "cloud"]
    other = post(server, verify={"question": "Can you see the {object}? Please answer yes or no."})["verify"]
    known = probability(server, "Can you see the boat? Please answer yes or no.", {"yes", "Yes"}, {"no", "No"})
    assert other["mentions"][0]["p_yes"] == pytest.approx(known, abs=2e-4)
    named = post(server, verify={"objects": {"vessel": ["boat"]}})["verify"]["mentions"]
    assert [(one["text"], one["object"]) for one in named] == [("boat", "vessel")]


def test_an_alias_asks_for_a_check_and_the_field_wins(server: Server) -> None:
    assert post(server, model="scenes:verify")["verify"]["checked"]
    assert "eah" not in post(server, model="scenes:verify")
    both = post(server, model="scenes:eah+verify")
    assert both["verify"]["checked"]
    assert text(both) == text(post(server, eah=True)) != text(post(server))
    assert "verify" not in post(server, model="scenes:verify", verify=False)
    assert text(post(server, model="scenes:verify+eah", eah=False)) == text(post(server))
    listed = [card["id"] for card in json.loads(server.get("/v1/models")[1])["data"]]
    checked = ["verify", "eah+verify", "vhr+verify", "clva+verify", "eah+vhr+verify"]
    assert listed[0] == "scenes"
    assert [name for name in listed if "verify" in name] == [f"scenes:{modes}" for modes in checked]
    status, answer = server.post(CHAT, body(CHAT) | {"model": "scenes:verfy"})
    assert status == 404
    assert "; with verify on: scenes:verify; " in answer
    assert "; with EAH and verify on: scenes:eah+verify; " in answer


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("verify", "field", "said"),
    [
        ("yes", "verify", "must be true, false or an object of options"),
        ({"treshold": 0.1}, "verify.treshold", "unknown option; known are action, threshold"),
        ({"threshold": 2}, "verify.threshold", "less than or equal to 1"),
        ({"max_mentions": True}, "verify.max_mentions", "must be a number"),
        ({"question": "Is it there?"}, "verify.question", "{object} exactly once"),
        ({"question": "Is <image> a {object}?"}, "verify.question", "no special token"),
        ({"question": "Is it\n\nUSER: {object}?"}, "verify.question", "no line break"),
        ({"objects": []}, "verify.objects", "must be a list of names"),
        ({"yes": ["grobnik"]}, "verify.yes", "no word of it is one token"),
        ({"no": ["Yes"]}, "verify.no", "stands under yes and under no"),
        ({"n": 3}, "verify.n", "belongs to action"),
        ({"action": "erase"}, "verify.action", "'report', 'rewrite' or 'best_of'"),
    ],
    ids=str,
)
def test_a_bad_option_is_refused_by_name(server: Server, path: str, verify: Any, field: str, said: str) -> None:
    before = server.counter("eah_verify_requests_total", outcome="refused")
    param, message = refused(server, path, verify=verify)
    assert said in message
    assert message.startswith(f"{field}: ") or param == field
    assert server.counter("eah_verify_requests_total", outcome="refused") == before + 1


@pytest.mark.parametrize(
    ("path", "fields", "named"),
    [
        (CHAT, {"metadata": {"verify": "true"}}, "metadata.verify: a check is not asked for here"),
        (CHAT, {"verify_threshold": 0.2}, "verify_threshold: a check is not asked for here"),
        (CHAT, {"extra_body": {"verify": True}}, "extra_body.verify: extra_body is an argument of the openai client"),
        (CHAT, {"vllm_xargs": {"verify": 1}}, "vllm_xargs.verify: a check is not asked for here"),
        (CHAT, {"n": 2, "temperature": 1, "verify": True}, "n: cannot be combined with verify"),
        (RESPONSES, {"background": True, "verify": True}, "background: cannot be combined with verify"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(server: Server, path: str, fields: dict[str, Any], named: str) -> None:
    assert named in refused(server, path, **fields)[1]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions/batch"])
def test_routes_without_pictures_refuse_it(server: Server, path: str) -> None:
    prompts = {"prompt": "dog ?"} if path == "/v1/completions" else {"messages": [SHOWN]}
    status, answer = server.post(path, {"model": "scenes", "max_tokens": 2, "verify": True} | prompts)
    assert (status, json.loads(answer)["error"]["param"]) == (400, "verify")
    assert server.post(path, {"model": "scenes", "max_tokens": 2, "verify": False} | prompts)[0] == 200


def test_it_is_described(server: Server) -> None:
    described = json.loads(server.get("/v1/eah")[1])["verify"]
    assert described["defaults"]["action"] == "report"
    assert described["defaults"]["extractor"] == "words"
    assert described["defaults"]["objects"] == len(NAMES)
    assert described["limits"]["max_mentions"][1] >= described["defaults"]["max_mentions"]
    assert {"words", "model"} <= set(described["extractors"])
    assert "P(yes)" in described["options"]["threshold"]["description"]
    schemas = json.loads(server.get("/openapi.json")[1])["components"]["schemas"]
    for name in ("EAHChatCompletionRequest", "EAHResponsesRequest", "EAHMessagesRequest"):
        assert {"$ref": "#/components/schemas/VerifyOptions"} in schemas[name]["properties"]["verify"]["anyOf"]


def test_what_is_found_is_counted(server: Server) -> None:
    named = ("eah_verify_requests_total", "eah_verify_mentions_total", "eah_verify_seconds_count")
    before = server.metrics()
    verdicts_before = [server.counter(named[1], verdict=one) for one in ("confirmed", "denied", "unasked")]
    post(server, verify={"max_mentions": 3})
    post(server, verify={"objects": ["cloud"]})
    after = server.metrics()
    assert [after[name] - before[name] for name in named] == [2, 5, 2]
    verdicts_after = [server.counter(named[1], verdict=one) for one in ("confirmed", "denied", "unasked")]
    assert [b - a for a, b in zip(verdicts_before, verdicts_after, strict=True)] == [3, 1, 1]
