"""`bench/gpu/shrink.py` on a small library of our own making: what one chip needs stays, the rest is zeroes."""

from __future__ import annotations

import shutil
import struct

import pytest

from bench.gpu.shrink import MACHINE_CODE, MAGIC, fatbins, shrink

PTX = 1
FILE_HEADER, PIECE_HEADER, FATBIN_HEADER = 64, 64, 16


def piece(kind: int, architecture: int, code: bytes) -> bytes:
    header = struct.pack("<HHIQ", kind, 0, PIECE_HEADER, len(code)).ljust(28, b"\0") + struct.pack("<I", architecture)
    return header.ljust(PIECE_HEADER, b"\0") + code


def fatbin(*pieces: bytes) -> bytes:
    body = b"".join(pieces)
    return struct.pack("<IHHQ", MAGIC, 1, FATBIN_HEADER, len(body)) + body


def library(*containers: bytes) -> bytes:
    """An ELF file with a section of fatbins, eight zero bytes between two of them, and one of names."""
    code, names = b"".join(one + bytes(8) for one in containers) + bytes(16), b"\0.nv_fatbin\0.shstrtab\0"
    table = FILE_HEADER + len(code) + len(names)
    header = bytearray(b"\x7fELF".ljust(FILE_HEADER, b"\0"))
    struct.pack_into("<Q", header, 0x28, table)
    struct.pack_into("<HHH", header, 0x3A, 64, 3, 2)
    sections = [(0, 0, 0), (1, FILE_HEADER, len(code)), (12, FILE_HEADER + len(code), len(names))]
    rows = b"".join(
        struct.pack("<IIQQQQIIQQ", name, 0, 0, 0, place, size, 0, 0, 0, 0) for name, place, size in sections
    )
    return bytes(header) + code + names + rows


HOPPER, AMPERE = piece(MACHINE_CODE, 90, b"hopper--" * 4), piece(MACHINE_CODE, 80, b"ampere--" * 9)
TEXT = piece(PTX, 90, b"ptx-----" * 12)
SMALL = piece(MACHINE_CODE, 90, b"small---")


def test_only_machine_code_of_the_chip_stays() -> None:
    original = library(fatbin(AMPERE, HOPPER, TEXT), fatbin(SMALL))
    smaller, kept, total = shrink(original)
    assert len(smaller) == len(original)
    assert [[one.data for one in container.pieces] for container in fatbins(smaller)] == [[HOPPER], [SMALL]]
    assert (kept, total) == (len(HOPPER + SMALL), len(AMPERE + HOPPER + TEXT + SMALL))
    assert b"ampere" not in smaller
    assert b"ptx" not in smaller


def test_no_fatbin_is_left_empty() -> None:
    smaller, _, _ = shrink(library(fatbin(AMPERE), fatbin(HOPPER), fatbin(SMALL)))
    assert [[one.data for one in container.pieces] for container in fatbins(smaller)] == [[SMALL], [HOPPER], [SMALL]]


@pytest.mark.skipif(shutil.which("c++filt") is None, reason="c++filt (binutils) is not installed")
def test_kernels_are_chosen_by_their_demangled_names() -> None:
    wanted = piece(MACHINE_CODE, 90, b".text._Z6kernelILi64EEvv\0----")
    other = piece(MACHINE_CODE, 90, b".text._Z6kernelILi32EEvv\0-----")
    smaller, _, _ = shrink(library(fatbin(other, wanted)), r"kernel<64>")
    assert [[one.data for one in container.pieces] for container in fatbins(smaller)] == [[wanted]]


def test_a_file_without_device_code_is_refused() -> None:
    with pytest.raises(ValueError, match="nv_fatbin"):
        shrink(library(fatbin(HOPPER)).replace(b".nv_fatbin", b".something"))
