"""Whether one answer is what a client may expect."""

from __future__ import annotations

import re

from tests.fuzz.case import Case
from tests.fuzz.wire import Reply

SECONDS = 1.0
"""An answer to a bad request takes no longer (issue 6), on a machine that has nothing else to do."""
TIMES_GOOD = 10
"""Where even good requests are slow, so is the rest: this many times their median is allowed."""
LEAKS = re.compile(r"Traceback|\bFile \"|0x[0-9a-f]{8}|site-packages|/usr/lib|\.py\b")


def limit(median_good: float) -> float:
    """Seconds that the answer to a bad request may take."""
    return max(SECONDS, TIMES_GOOD * median_good)


def problems(case: Case, reply: Reply, good_text: str) -> list[str]:
    """What is wrong with the answer itself; how long it took is judged apart."""
    if reply.status not in case.expect:
        allowed = ", ".join("no answer" if status is None else str(status) for status in case.expect)
        return [f"{reply.status} instead of {allowed}: {reply.problem}{reply.message() or reply.body[:300]!r}"]
    if reply.status is None:
        return []
    if reply.status == 200:
        return _wrong_answer(case, reply, good_text)
    if case.plain_text:
        return []
    return _unclear(case, reply)


def text_of(reply: Reply) -> str:
    """What the model said."""
    found = reply.json()
    choices = found.get("choices") if isinstance(found, dict) else None
    if not choices:
        return ""
    said = choices[0].get("message") or choices[0]
    return str(said.get("content") or said.get("text") or "")


def _wrong_answer(case: Case, reply: Reply, good_text: str) -> list[str]:
    if not isinstance(reply.json(), dict):
        return [f"200, but no JSON: {reply.body[:200]!r}"]
    if case.same_answer and text_of(reply) != good_text:
        return [f"it shows the good picture, but is answered {text_of(reply)!r} instead of {good_text!r}"]
    return []


def _unclear(case: Case, reply: Reply) -> list[str]:
    message = reply.message()
    if not message.strip():
        return [f"no error message in {reply.body[:300]!r}"]
    found = []
    if leak := LEAKS.search(message):
        found.append(f"the message shows the server's inside ({leak[0]!r}): {message[:300]!r}")
    error = reply.json()["error"]
    param = error.get("param") or ""
    if case.mentions and not any(word.lower() in f"{message} {param}".lower() for word in case.mentions):
        found.append(f"the message names none of {case.mentions}: {message[:300]!r}")
    if "code" in error and error["code"] != reply.status:
        found.append(f"status {reply.status}, but the code in the message is {error['code']!r}")
    return found
