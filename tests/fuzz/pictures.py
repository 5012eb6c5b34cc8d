"""Picture files written by hand: what no picture library would write."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from PIL import Image

from eah_vllm.scenes.world import make_scene

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


GOOD, OTHER = 7, 10
"""Seeds of two scenes that have nothing in common."""


@cache
def scene(seed: int = GOOD) -> Image.Image:
    """The picture of the good request, or another: few colours, so that a palette holds it exactly."""
    return make_scene(seed).pil().resize((96, 96)).quantize(64, dither=Image.Dither.NONE).convert("RGB")


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file of a format that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png() -> bytes:
    """The good picture, lossless."""
    return encode(scene(), "png")


def url(data: bytes, media_type: str = "image/png") -> str:
    """A data URL."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    """One chunk of a PNG file; a checksum of its own makes it a corrupt one."""
    right = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", right if checksum is None else checksum)


def png_header(width: int, height: int, depth: int = 8, colours: int = 2, interlace: int = 0) -> bytes:
    """Signature and IHDR."""
    return SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, interlace))


def zeros(size: int) -> bytes:
    """`size` zero bytes, deflated without ever holding them."""
    deflate = zlib.compressobj(1)
    block, pieces = bytes(1 << 20), []
    for start in range(0, size, len(block)):
        pieces.append(deflate.compress(block[: size - start]))
    return b"".join(pieces) + deflate.flush()


def black_png(width: int, height: int) -> bytes:
    """All of a one-bit picture, in a thousandth of its size."""
    data = zeros(height * (1 + (width + 7) // 8))
    return png_header(width, height, depth=1, colours=0) + chunk(b"IDAT", data) + END


def bomb_chunk(kind: bytes, head: bytes, size: int) -> bytes:
    """The good picture with a compressed chunk that unpacks to `size` bytes."""
    at = len(png_header(1, 1))
    return png()[:at] + chunk(kind, head + zeros(size)) + png()[at:]


def with_ifd(entries: Sequence[tuple[int, int, int, int]], next_ifd: int = 0) -> bytes:
    """A TIFF of one directory: (tag, type, count, value) each."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(entries)) + body + struct.pack("<I", next_ifd)


def tiff(width: int, height: int, **changes: int) -> bytes:
    """A black and white TIFF; `next_ifd` may point back at itself."""
    next_ifd = changes.pop("next_ifd", 0)
    fields = {"bits": 8, "compression": 1, "photometric": 1, "strip": 8, "rows": height, "size": width * height}
    fields |= changes
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, fields["bits"])]
    entries += [(259, 3, 1, fields["compression"]), (262, 3, 1, fields["photometric"]), (273, 4, 1, fields["strip"])]
    entries += [(277, 3, 1, 1), (278, 4, 1, fields["rows"]), (279, 4, 1, fields["size"])]
    return with_ifd(entries, next_ifd)


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG that announces a size and then ends."""
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"


def turned(orientation: int) -> bytes:
    """The good picture, stored so that this EXIF orientation shows it upright; lossless."""
    back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = scene() if back is None else scene().transpose(back)
    return encode(stored, "png", exif=exif)
