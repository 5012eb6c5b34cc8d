"""Addresses of pictures: data URLs that are none, and places that a server must not visit for a client."""

from __future__ import annotations

import base64
import urllib.parse
from collections.abc import Iterator
from typing import Any

from tests.fuzz.case import EITHER, FINE, RESPONSES, Case, as_json, chat, show
from tests.fuzz.pictures import png, url

SAYS = ("image", "url", "data", "base64", "media")
SECRET_HOSTS = (
    "127.0.0.1",
    "localhost",
    "[::1]",
    "0.0.0.0",
    "127.1",
    "2130706433",
    "0x7f000001",
    "[::ffff:127.0.0.1]",
    "127.0.0.1.",
    "LOCALHOST",
    "user:password@127.0.0.1",
    "127.0.0.1%20",
)
"""Ways to write the address of this machine."""
OTHER_HOSTS = ("10.0.0.1", "192.168.1.1", "169.254.169.254/latest/meta-data", "[fe80::1]", "pictures.invalid")


def cases(trap_port: int) -> Iterator[Case]:
    """All of them.

    Args:
        trap_port: where a listener of the test counts who comes.
    """
    yield from _data_urls()
    for host in SECRET_HOSTS:
        place, _, rest = host.partition("/")
        yield _case(f"http, {host}", f"http://{place}:{trap_port}/{rest}x.png", "place")
    yield _case("https, this machine", f"https://127.0.0.1:{trap_port}/x.png", "place")
    for host in OTHER_HOSTS:
        yield _case(f"http, {host}", f"http://{host}", "place")
    for path in ("/etc/hostname", "//localhost/etc/hostname", "/proc/self/environ", "/dev/zero", "/../etc/hostname"):
        yield _case(f"file:{path}", f"file://{path}", "place")
    for address in (
        "ftp://127.0.0.1/x.png",
        "gopher://127.0.0.1:70/_x",
        "javascript:alert(1)",
        "blob:https://a/b",
        "//127.0.0.1/x",
        "/etc/hostname",
        "x.png",
        "",
        " ",
        "http://",
        "http:///x.png",
        "http://\u202e/x",
        "HTTP://127.0.0.1/x.png",
        "unix:///var/run/x.sock",
        "s3://bucket/x.png",
        "http://127.0.0.1:99999/x",
        "http://[::1/x",
        "\u0000",
        "\ud800",
        "data",
        "http://127.0.0.1\r\nX: y/",
    ):
        yield _case(repr(address), address, "place")
    yield _case("an address of a megabyte", "http://127.0.0.1/" + "a" * (1 << 20), "place")
    yield from _wrong_types()


def _case(name: str, address: Any, category: str, **more: Any) -> Case:
    return Case(f"{category}: {name}", category, as_json(show(address)), **({"mentions": SAYS} | more))


def _data_urls() -> Iterator[Case]:
    data = base64.b64encode(png()).decode()
    for media_type in ("text/html", "application/pdf", "text/plain", "video/mp4", "application/x-python-pickle"):
        yield _case(f"a picture called {media_type}", f"data:{media_type};base64,{data}", "data url")
    untyped = ("", "image", "application/octet-stream")  # Qwen's documentation writes `data:image;base64,`
    for media_type in ("image/jpeg", "IMAGE/PNG", "image/png;charset=utf-8", *untyped):
        yield _case(
            f"a png called {media_type!r}",
            f"data:{media_type};base64,{data}",
            "data url",
            expect=FINE,
            same_answer=True,
            why="the bytes say what they are",
        )
    yield _case("a png called a name of 5000 letters", f"data:{'a' * 5000};base64,{data}", "data url")
    wrong = {
        "no comma": f"data:image/png;base64{data}",
        "nothing after the comma": "data:image/png;base64,",
        "nothing at all": "data:",
        "only a comma": "data:,",
        "no base64 named": f"data:image/png,{data}",
        "percent encoding": "data:image/png," + urllib.parse.quote(png()[:2000]),
        "percent-encoded base64": "data:image/png;base64," + urllib.parse.quote(data, safe=""),
        "base64 with spaces": "data:image/png;base64, " + " ".join(data[idx : idx + 60] for idx in range(0, 600, 60)),
        "base64 with line ends": "data:image/png;base64," + data[:76] + "\r\n" + data[76:],
        "url-safe base64": "data:image/png;base64," + base64.urlsafe_b64encode(bytes(range(256)) * 4).decode(),
        "padding in the middle": f"data:image/png;base64,{data[:40]}=={data[40:]}",
        "no padding": "data:image/png;base64,"
        + base64.b64encode(png() + b"x" * (3 - len(png()) % 3 + 1)).decode()[:-2],
        "one letter": "data:image/png;base64,A",
        "letters of another alphabet": "data:image/png;base64,\u0436\u0436\u0436\u0436",
        "a surrogate": "data:image/png;base64,\ud800",
        "a NUL": "data:image/png;base64,\u0000" + data,
        "base64 twice": "data:image/png;base64," + base64.b64encode(data.encode()).decode(),
        "hexadecimal": "data:image/png;hex," + png().hex(),
        "a data URL in a data URL": url(f"data:image/png;base64,{data}".encode()),
        "a list": f"data:image/png;base64,{data},{data}",
    }
    for name, address in wrong.items():
        yield _case(name, address, "data url")
    yield _case(
        "DATA in capitals",
        f"DATA:image/png;base64,{data}",
        "data url",
        expect=FINE,
        same_answer=True,
        why="schemes have no case (RFC 3986)",
    )
    yield _case(
        "BASE64 in capitals", f"data:image/png;BASE64,{data}", "data url", expect=EITHER, why="RFC 2397 writes it small"
    )


def _wrong_types() -> Iterator[Case]:
    good = url(png())
    values: dict[str, Any] = {
        "null": None,
        "a number": 1,
        "a list": [good],
        "an object": {"url": good},
        "true": True,
        "a nested list": [[[]]],
    }
    for name, value in values.items():
        yield _case(f"url is {name}", value, "url type")
    parts: dict[str, Any] = {
        "image_url is null": {"type": "image_url", "image_url": None},
        "image_url is a list": {"type": "image_url", "image_url": [good]},
        "image_url is a number": {"type": "image_url", "image_url": 3},
        "no image_url": {"type": "image_url"},
        "no url": {"type": "image_url", "image_url": {}},
        "image_pil is text": {"type": "image_pil", "image_pil": "x"},
        "image_pil is an object": {"type": "image_pil", "image_pil": {"mode": "RGB"}},
        "image_embeds is text": {"type": "image_embeds", "image_embeds": "gAVLAS4="},
        "image_embeds is a list": {"type": "image_embeds", "image_embeds": [1.0, 2.0]},
        "audio": {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        "audio_url": {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,AAAA"}},
        "video": {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        "a file": {"type": "file", "file": {"file_data": good}},
        "a type that is not": {"type": "hologram", "hologram": "x"},
        "no type": {},
        "type is a list": {"type": ["image_url"], "image_url": {"url": good}},
        "uuid without a picture": {"type": "image_url", "image_url": None, "uuid": "never-seen"},
        "uuid of a megabyte": {"type": "image_url", "image_url": None, "uuid": "u" * (1 << 20)},
    }
    for name, part in parts.items():
        body = chat(messages=[{"role": "user", "content": [part, {"type": "text", "text": "dog ?"}]}])
        yield Case(f"part: {name}", "part", as_json(body))
    odd = {"type": "image_url", "image_url": {"url": good}, "uuid": {"a": 1}}
    yield Case(
        "part: uuid is an object",
        "part",
        as_json(chat(messages=[{"role": "user", "content": [odd]}])),
        EITHER,
        why="the server names pictures itself",
    )
    for name, value in {"nothing": None, "a file": "file:///etc/hostname", "a list": ["x"]}.items():
        item = {"type": "input_image", "image_url": value, "detail": "auto"}
        body = {"model": "scenes", "input": [{"role": "user", "content": [item]}], "max_output_tokens": 2}
        yield Case(f"part: responses, {name}", "part", as_json(body), path=RESPONSES)
