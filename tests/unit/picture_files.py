"""Files of every kind of pixel, written byte by byte from known values: no picture library has a say in them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.uint16]
"""`[rows, columns]` or `[rows, columns, channels]`."""
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
"""A PNG's types of pixels."""


def png(values: Values, kind: int, depth: int, key: Sequence[int] = (), **chunks: bytes) -> bytes:
    """A PNG; `key` is its colour key, `chunks` are further chunks that come before the pixels."""
    height, width = values.shape[:2]
    if depth == 16:
        rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    else:
        bits = np.unpackbits(values.astype(np.uint8).reshape(height, -1, 1), axis=2)[:, :, 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    pixels = b"".join(b"\0" + row.tobytes() for row in rows)
    if key:
        chunks["tRNS"] = struct.pack(f">{len(key)}H", *key)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = [("IHDR", header), *chunks.items(), ("IDAT", zlib.compress(pixels)), ("IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name.encode(), data) for name, data in body)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(values: Values, photometric: int, bits: int, order: str = "<", **tags: int) -> bytes:
    """An uncompressed TIFF; tags by their numbers, such as `t338` (what the channels beyond the colours are)."""
    height, width, channels = (*values.shape, 1)[:3]
    if bits == 12:
        samples = np.unpackbits(values.astype(">u2").reshape(height, -1, 1).view(np.uint8), axis=2)[:, :, 4:]
        pixels = np.packbits(samples.reshape(height, -1), axis=1).tobytes()
    else:
        pixels = values.astype(f"{order}u{bits // 8}").tobytes()
    fields: Mapping[int, Any] = {
        256: width, 257: height, 258: [bits] * channels, 259: 1, 262: photometric, 273: 8, 277: channels, 278: height,
        279: len(pixels), **{int(name[1:]): value for name, value in tags.items()},
    }  # fmt: skip
    entries, more = b"", b""
    at = 8 + len(pixels)
    behind = at + 2 + 12 * len(fields) + 4
    for tag, value in sorted(fields.items()):
        if not isinstance(value, list):
            entries += struct.pack(order + "HHII", tag, 4, 1, value)
        elif len(value) > 2:
            entries += struct.pack(order + "HHII", tag, 3, len(value), behind + len(more))
            more += struct.pack(f"{order}{len(value)}H", *value)
        else:
            entries += struct.pack(order + "HHI", tag, 3, len(value)) + struct.pack(
                order + "2H", *value, *[0][len(value) - 1 :]
            )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)
    return head + pixels + struct.pack(order + "H", len(fields)) + entries + bytes(4) + more


def cmyk_profile(lab: Mapping[tuple[int, ...], tuple[float, float, float]]) -> bytes:
    """An ICC profile of four inks: what each mixture of full and no ink looks like, in L*a*b* under D50."""
    lut = struct.pack(">4sIBBBB", b"mft1", 0, 4, 3, 2, 0) + struct.pack(
        ">9i", *(65536 * (i % 4 == 0) for i in range(9))
    )
    straight = bytes(range(256))
    corners = b""
    for number in range(16):  # the last ink changes fastest
        lightness, a, b = lab[tuple(number >> shift & 1 for shift in (3, 2, 1, 0))]
        corners += bytes([round(lightness * 2.55), round(a) + 128, round(b) + 128])
    lut += straight * 4 + corners + straight * 3
    text = b"text" + bytes(4) + b"made by a test\0"
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(4 + 4 + 2 + 1 + 67)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"A2B0": lut, b"cprt": text, b"desc": name, b"wtpt": white}
    at = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        value += bytes(-len(value) % 4)
        table += tag + struct.pack(">II", at + len(data), len(value))
        data += value
    header = struct.pack(
        ">I4sI4s4s4s12s4s", at + len(data), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ", bytes(12), b"acsp"
    )
    header += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header + bytes(128 - len(header)) + table + data
