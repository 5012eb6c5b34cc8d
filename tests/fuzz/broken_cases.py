"""Picture files that are broken, files that are no pictures, and files with bytes changed at random."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zipfile
from collections.abc import Iterator
from functools import partial

from PIL import Image

from tests.fuzz.case import EITHER, FINE, Case
from tests.fuzz.picture_cases import FORMATS, picture
from tests.fuzz.pictures import END, chunk, encode, png, png_header, scene, tiff, with_ifd, zeros


def cases() -> Iterator[Case]:
    """All of them but the random ones."""
    yield from _corrupt()
    yield from _no_pictures()


def _corrupt() -> Iterator[Case]:
    whole = png()
    at, header = len(png_header(1, 1)), png_header(96, 96)
    data = zeros(96 * (1 + 3 * 96))
    yield picture("wrong checksum of the header", "corrupt", header[:-1] + b"\x00" + chunk(b"IDAT", data) + END)
    yield picture(
        "wrong checksum of the pixels",
        "corrupt",
        header + chunk(b"IDAT", data, checksum=1) + END,
        expect=EITHER,
        why="the stream inside has a sum of its own, and that one is right",
    )
    yield picture(
        "wrong checksum inside the stream",
        "corrupt",
        header + chunk(b"IDAT", data[:-1] + b"\x00") + END,
        expect=EITHER,
        why="every pixel is there before the sum",
    )
    yield picture(
        "wrong checksum of a text",
        "corrupt",
        whole[:at] + chunk(b"tEXt", b"a\x00b", 1) + whole[at:],
        expect=EITHER,
        why="a text is no pixel",
    )
    yield picture("no pixels", "corrupt", header + END)
    yield picture(
        "a palette picture without palette",
        "corrupt",
        png_header(4, 4, 8, 3) + chunk(b"IDAT", zeros(20)) + END,
        expect=EITHER,
        why="a decoder may take grey",
    )
    yield picture("bit depth 77", "corrupt", png_header(4, 4, 77) + chunk(b"IDAT", data) + END)
    yield picture("colour type 9", "corrupt", png_header(4, 4, 8, 9) + chunk(b"IDAT", data) + END)
    yield picture("a chunk of 4 GiB", "corrupt", header + b"\xff\xff\xff\xffIDATxx")
    yield picture("pixels that are no deflate stream", "corrupt", header + chunk(b"IDAT", b"\xff" * 500) + END)
    yield picture(
        "two headers of two sizes",
        "corrupt",
        header + header[8:].replace(b"\x60", b"\x10", 1) + chunk(b"IDAT", data) + END,
        expect=EITHER,
    )
    for width, height in ((0, 0), (0, 5), (5, 0)):
        yield picture(f"png of {width} x {height}", "corrupt", png_header(width, height) + chunk(b"IDAT", data) + END)
        yield picture(f"tiff of {width} x {height}", "corrupt", tiff(width, height) + bytes(9), "image/tiff")
    gif = bytearray(encode(scene().quantize(8), "gif"))
    gif[6:10] = bytes(4)
    yield picture("gif of 0 x 0", "corrupt", bytes(gif), "image/gif", expect=EITHER, why="its frame has a size")
    bmp = bytearray(encode(scene(), "bmp"))
    bmp[18:22] = struct.pack("<i", -96)
    yield picture("bmp of negative width", "corrupt", bytes(bmp), "image/bmp")
    yield picture(
        "tiff whose directory follows itself",
        "corrupt",
        tiff(8, 8, strip=122, next_ifd=8) + bytes(64),
        "image/tiff",
        expect=EITHER,
        why="its first directory is whole",
    )
    yield picture("tiff whose pixels are elsewhere", "corrupt", tiff(8, 8, strip=4_000_000_000), "image/tiff")
    yield picture("tiff without a size", "corrupt", with_ifd([(258, 3, 1, 8)]), "image/tiff")
    yield picture("tiff of 1000 bits", "corrupt", tiff(8, 8, bits=1000) + bytes(64), "image/tiff")
    broken = Image.Exif()
    broken[0x0112] = 99
    yield picture("EXIF orientation 99", "corrupt", encode(scene(), "png", exif=broken), expect=FINE, same_answer=True)
    yield picture(
        "EXIF that is rubbish",
        "corrupt",
        encode(scene(), "png", exif=b"Exif\x00\x00" + b"\xff" * 99),
        expect=FINE,
        same_answer=True,
        why="a picture without orientation",
    )


def _no_pictures() -> Iterator[Case]:
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect width='9' height='9'/></svg>"
    entity = b"<!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/hostname'>]>" + svg.replace(b"<rect", b"&x;<rect")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("picture.png", png())
    files: dict[str, tuple[str, bytes]] = {
        "svg": ("image/svg+xml", svg),
        "svg that reads a file": ("image/svg+xml", entity),
        "pdf": ("application/pdf", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer<<>>\n%%EOF"),
        "html": ("text/html", b"<!doctype html><script>alert(1)</script>"),
        "text": ("text/plain", b"a red dog"),
        "json": ("application/json", b'{"image": 1}'),
        "zip": ("application/zip", packed.getvalue()),
        "gzipped png": ("image/png", gzip.compress(png(), mtime=0)),
        "program": ("image/png", b"\x7fELF\x02\x01\x01" + bytes(200)),
        "postscript": ("image/png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
        "wmf": ("image/png", b"\xd7\xcd\xc6\x9a" + bytes(80)),
        "hdf5": ("image/png", b"\x89HDF\r\n\x1a\n" + bytes(80)),
        "pickle": ("image/png", b"\x80\x04cos\nsystem\n(S'true'\ntR."),
        "numpy array": ("image/png", b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}"),
        "mp4": ("image/png", b"\x00\x00\x00\x18ftypmp42" + bytes(80)),
        "wav": ("image/png", b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(80)),
        "nothing": ("image/png", b""),
        "zeros": ("image/png", bytes(5000)),
        "noise": ("image/png", random.Random(1).randbytes(5000)),
    }
    for name, (media_type, data) in files.items():
        yield picture(name, "no picture", data, media_type)


def mutated(number: int, seed: int) -> Iterator[Case]:
    """Files with some bytes changed, cut or doubled."""
    rng = random.Random(seed)
    whole = {kind: encode(scene(), kind) for kind in FORMATS}
    for idx in range(number):
        kind = rng.choice(FORMATS)
        yield picture(
            f"{idx} of seed {seed}, {kind}",
            "mutated",
            partial(_mutate, whole[kind], rng.random()),
            f"image/{kind}",
            expect=EITHER,
        )


def _mutate(whole: bytes, seed: float) -> bytes:
    rng, data = random.Random(seed), bytearray(whole)
    for _ in range(rng.choice((1, 3, 30))):
        at = rng.randrange(min(len(data), rng.choice((64, 4096, 1 << 20))))
        data[at] = rng.choice((0, 255, 127, rng.randrange(256)))
    if rng.random() < 0.2:
        start = rng.randrange(len(data))
        data[start:start] = data[start : start + rng.randrange(200)]
    return bytes(data)
