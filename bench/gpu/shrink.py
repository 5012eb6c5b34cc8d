"""Takes out of a CUDA library what one chip never loads, as `nvprune` would, and keeps its size and layout.

    python -m bench.gpu.shrink IN OUT [REGEX]

Device code lies in fatbins: containers with a piece for each architecture. Kept are the pieces of machine code for
sm_90 (H100, H200); with a regex only those in which a demangled kernel name matches it. What is freed is zeroes, which
compress to nothing. No fatbin is left empty: one without anything wanted gets a copy of the file's smallest sm_90
piece. Calling a kernel that is gone fails, as it would on another chip.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURE = 90
MACHINE_CODE = 2
MAGIC = 0xBA55ED50


@dataclass(frozen=True, slots=True)
class Piece:
    """Device code for one architecture, with its header."""

    kind: int
    architecture: int
    data: bytes

    @property
    def is_ours(self) -> bool:
        """Whether it is machine code for the chip that is meant."""
        return self.kind == MACHINE_CODE and self.architecture == ARCHITECTURE


@dataclass(frozen=True, slots=True)
class Fatbin:
    """Where a container begins in the file, where its pieces begin, and these."""

    begin: int
    first: int
    pieces: list[Piece]

    @property
    def length(self) -> int:
        """Bytes of all pieces."""
        return sum(len(piece.data) for piece in self.pieces)


def section(data: bytes, name: bytes) -> tuple[int, int]:
    """Return offset and size of an ELF section.

    Raises:
        ValueError: the file has no such section.
    """
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, number, strings = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * size) for i in range(number)]
    for header in headers:
        start = headers[strings][4] + header[0]
        if data[start : data.index(b"\0", start)] == name:
            return header[4], header[5]
    raise ValueError(f"there is no section {name!r}")


def fatbins(data: bytes) -> Iterator[Fatbin]:
    """Yield the containers of a library."""
    place, size = section(data, b".nv_fatbin")
    end = place + size
    while place < end - 16:
        magic, _, header, length = struct.unpack_from("<IHHQ", data, place)
        if magic != MAGIC:
            place += 8  # containers are aligned, with zeroes between them
            continue
        begin, first = place, place + header
        pieces, entry = [], first
        while entry < first + length:
            kind, _, entry_header, code = struct.unpack_from("<HHIQ", data, entry)
            (architecture,) = struct.unpack_from("<I", data, entry + 28)
            pieces.append(Piece(kind, architecture, data[entry : entry + entry_header + code]))
            entry += entry_header + code
        place = first + length
        yield Fatbin(begin, first, pieces)


def kernel_names(data: bytes) -> list[str]:
    """Return the names of the kernels in uncompressed machine code, as C++ writes them."""
    mangled = sorted(set(re.findall(rb"\.text\.(_Z\w+)", data)))
    demangled = subprocess.run(["c++filt"], input=b"\n".join(mangled), capture_output=True, check=True)
    return demangled.stdout.decode().splitlines()


def shrink(original: bytes, kernels: str = "") -> tuple[bytes, int, int]:
    """Return the library without what is not wanted, and how many bytes of device code were kept and of how many.

    Args:
        original: The library.
        kernels: A regex; where it is not empty, a piece is wanted only if it matches one of its kernels' names.
    """
    data, every = bytearray(original), list(fatbins(original))
    filler = min((p for fatbin in every for p in fatbin.pieces if p.is_ours), key=lambda piece: len(piece.data))
    kept = 0
    for fatbin in every:
        wanted = [piece for piece in fatbin.pieces if piece.is_ours]
        if kernels:
            wanted = [p for p in wanted if any(re.search(kernels, name) for name in kernel_names(p.data))]
        if not wanted:
            smallest = min(fatbin.pieces, key=lambda piece: len(piece.data))
            wanted = [filler if len(filler.data) <= fatbin.length else smallest]
        new = b"".join(piece.data for piece in wanted)
        struct.pack_into("<Q", data, fatbin.begin + 8, len(new))
        data[fatbin.first : fatbin.first + fatbin.length] = new + bytes(fatbin.length - len(new))
        kept += len(new)
    return bytes(data), kept, sum(fatbin.length for fatbin in every)


def main(source: str, target: str, kernels: str = "") -> None:
    """Write the smaller library."""
    smaller, kept, total = shrink(Path(source).read_bytes(), kernels)
    Path(target).write_bytes(smaller)
    print(f"{target}: {kept / 2**20:.1f} of {total / 2**20:.1f} MiB of device code kept")


if __name__ == "__main__":
    main(*sys.argv[1:])
