"""Puts a picture that nobody has shown yet into a hostile request, and asks for it again in a good one.

vLLM caches pictures before it looks at the rest of a request. A refused request that showed a known picture would say
nothing about that.
"""

from __future__ import annotations

import dataclasses
import secrets

from tests.fuzz.case import FINE, GOOD_URL, Case, as_json, show
from tests.fuzz.pictures import encode, scene, url

LARGE = 1 << 20


def fresh_url() -> str:
    """The good picture with two pixels changed, to colours that no other request has."""
    picture = scene().copy()
    for at in (0, 1):
        picture.putpixel((at, 0), tuple(secrets.token_bytes(3)))
    return url(encode(picture, "png"))


def with_fresh_picture(case: Case) -> tuple[Case, Case | None]:
    """The case with a new picture in the place of the good one, and a good request for that picture.

    The case comes back as it is, and None, where it shows another picture or none, where its answer must be the good
    picture's, or where its size is what it is about.
    """
    if case.raw or case.same_answer or any(name == "Content-Length" for name, _ in case.headers):
        return case, None
    payload, fresh = case.payload(), fresh_url()
    if len(payload) > LARGE or GOOD_URL.encode() not in payload:
        return case, None
    good = Case("the same new picture", "good", as_json(show(fresh, max_tokens=2)), FINE)
    return dataclasses.replace(case, body=payload.replace(GOOD_URL.encode(), fresh.encode())), good
