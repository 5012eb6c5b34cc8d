"""Pictures and bodies that are too large, or become so."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial

from tests.fuzz.case import COMPLETIONS, EITHER, FINE, Case, as_json, chat, show
from tests.fuzz.picture_cases import picture
from tests.fuzz.pictures import (
    END,
    black_png,
    bomb_chunk,
    chunk,
    encode,
    jpeg_header,
    png,
    png_header,
    scene,
    tiff,
    url,
    zeros,
)

LIMIT = 32 << 20
"""Bytes of a body that the server takes."""
SAYS_SIZE = ("pixel", "size", "large", "side", "image")
TOO_LARGE = (413,)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _shapes()
    yield from _bombs()
    yield from _bodies()


def _shapes() -> Iterator[Case]:
    for width, height in ((1, 30_000), (30_000, 1), (1, 65_535), (100_000, 2), (30_000, 3)):
        why = "scaled to the model's shorter side it would be a thousand times larger"
        yield picture(f"{width} x {height}", "shape", partial(black_png, width, height), mentions=SAYS_SIZE, why=why)


def _bombs() -> Iterator[Case]:
    for side in (13_000, 20_000, 50_000):
        yield picture(f"{side} x {side} black pixels", "bomb", partial(black_png, side, side), mentions=SAYS_SIZE)
    for name, header in _announced().items():
        yield picture(f"{name}", "bomb", header, mentions=SAYS_SIZE)
    for kind, head in ((b"zTXt", b"a\x00\x00"), (b"iCCP", b"a\x00\x00"), (b"iTXt", b"a\x00\x01\x00\x00\x00")):
        yield picture(
            f"{kind.decode()} of 256 MiB",
            "bomb",
            partial(bomb_chunk, kind, head, 1 << 28),
            expect=EITHER,
            why="refused, or the chunk is left packed",
        )
    late = png_header(9, 9) + chunk(b"IDAT", zeros(1 << 28)) + END
    yield picture("9 x 9 with 256 MiB of pixels", "bomb", late, expect=EITHER, why="a decoder stops when it is full")
    frames = {"save_all": True, "append_images": [scene().rotate(idx).quantize(16) for idx in range(60)]}
    yield picture("gif of 61 frames", "bomb", encode(scene().quantize(16), "gif", **frames), "image/gif")
    yield picture(
        "7000 x 7000 black pixels",
        "bomb",
        partial(black_png, 7000, 7000),
        expect=FINE,
        why="just under the limit of 50 million pixels",
    )


def _announced() -> dict[str, bytes]:
    """Headers of enormous pictures, with nothing behind them."""
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 900, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    psd = b"8BPS\x00\x01" + bytes(6) + struct.pack(">HIIHH", 3, 60_000, 60_000, 8, 3) + bytes(12) + b"\x00\x01"
    tga = struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 60_000, 60_000, 24, 0) + b"\xff\x00\x00\x00"
    gif = b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + bytes(6)
    gif += b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x44\x01\x00;"
    return {
        "png header of 50000 x 50000": png_header(50_000, 50_000) + chunk(b"IDAT", zeros(1000)) + END,
        "png header of 2147483647 x 2147483647": png_header(2**31 - 1, 2**31 - 1) + chunk(b"IDAT", zeros(9)) + END,
        "jpeg header of 65000 x 65000": jpeg_header(65_000, 65_000),
        "gif of 65535 x 65535": gif,
        "bmp of 60000 x 60000": bmp + bytes(64),
        "psd of 60000 x 60000": psd + bytes(64),
        "tga of 60000 x 60000": tga,
        "tiff of 4000000000 x 4000000000": tiff(4_000_000_000, 4_000_000_000, size=64, strip=8),
        "tiff of 60000 x 60000": tiff(60_000, 60_000, size=64, strip=8),
        "ppm of 60000 x 60000": b"P6 60000 60000 255\n" + bytes(64),
        "pgm of 99999999999999999999": b"P5 99999999999999999999 1 255\n" + bytes(64),
        "qoi of 100000 x 100000": b"qoif" + struct.pack(">IIBB", 100_000, 100_000, 3, 0) + bytes(64),
        "sgi of 65535 x 65535": struct.pack(">HBBHHHH", 474, 1, 1, 3, 65_535, 65_535, 3) + bytes(500),
        "dds of 60000 x 60000": b"DDS " + struct.pack("<7I", 124, 0x1007, 60_000, 60_000, 0, 0, 0) + bytes(96),
    }


def _bodies() -> Iterator[Case]:
    def padded(size: int, inside: bytes = b"") -> bytes:
        body = as_json(show(url(png() + inside)))
        return body + b" " * (size - len(body))

    yield Case("body: just under the limit", "body", partial(padded, LIMIT), FINE, why="spaces around JSON are JSON")
    yield Case("body: one byte over the limit", "body", partial(padded, LIMIT + 1), TOO_LARGE, ("large", "bytes"))
    yield Case("body: 40 MiB", "body", partial(padded, 40 << 20), TOO_LARGE, ("large", "bytes"))
    yield Case("body: 100 MiB", "body", partial(padded, 100 << 20), TOO_LARGE, ("large", "bytes"))
    yield Case(
        "body: 40 MiB to completions",
        "body",
        partial(padded, 40 << 20),
        TOO_LARGE,
        ("large", "bytes"),
        path=COMPLETIONS,
    )
    yield Case(
        "body: a picture of 30 MB that is none",
        "body",
        lambda: as_json(show(url(bytes(22 << 20)))),
        mentions=("image",),
    )
    yield Case(
        "body: 30 MB of text",
        "body",
        lambda: as_json(chat(messages=[{"role": "user", "content": "dog " * (7 << 20)}])),
        mentions=("length", "token", "context"),
    )
    yield Case(
        "body: a completion of 20 MB",
        "body",
        lambda: as_json({"model": "scenes", "prompt": "a " * (10 << 20)}),
        path=COMPLETIONS,
        mentions=("length", "token", "context"),
    )

    def in_chunks() -> bytes:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer KEY\r\n"
        head += b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        piece = b"%x\r\n" % (1 << 20) + b" " * (1 << 20) + b"\r\n"
        return head + piece * 40 + b"0\r\n\r\n"

    yield Case("body: 40 MiB in chunks, no length said", "body", in_chunks, TOO_LARGE, ("large", "bytes"), raw=True)
