"""Finds the pictures that a command line names, and reads them as they are sent."""

from __future__ import annotations

import glob
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Names that count as pictures in a folder; a file that is named by itself may have any name."""
STDIN = "-"


class PictureError(ValueError):
    """A file is not a picture, or cannot be read; the message says why."""


def find_pictures(words: Iterable[str], lines: Iterable[str]) -> list[str]:
    """Return the paths that the words name, each once, in the order of the words and by name within one word.

    Args:
        words: files, folders (with the folders in them), patterns such as `photos/*.jpg` or `photos/**/*.png`, and `-`
            for a list of such words, one a line.
        lines: the lines of that list; they are read only if `-` is among the words.
    """
    found: dict[str, None] = {}
    for word in words:
        listed = (line.strip() for line in lines) if word == STDIN else (word,)
        for one in filter(None, listed):
            found.update(dict.fromkeys(_expand(one)))
    return list(found)


def _expand(word: str) -> Iterator[str]:
    path = Path(word)
    if path.is_dir():
        inside = (one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
        yield from sorted(map(str, inside))
    elif not path.exists() and glob.has_magic(word):
        # A pattern that matches nothing stays in the list, so that it is named as missing.
        yield from sorted(one for one in glob.glob(word, recursive=True) if Path(one).is_file()) or [word]
    else:
        yield str(path)


def read_picture(path: str) -> tuple[bytes, str]:
    """Return a file's bytes and its media type, by its content, not by its name.

    Only the header is looked at here. The server decides whether it shows the picture.

    Raises:
        PictureError: the file cannot be read, or is no picture.
    """
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            media_type = Image.MIME.get(picture.format or "")
    except UnidentifiedImageError:
        raise PictureError("it is not a picture") from None
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise PictureError(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if media_type is None:
        raise PictureError("the kind of picture is not known")
    return data, media_type


def shortened(words: Sequence[str], most: int) -> str:
    """Join words with commas, and say how many more there are than `most`."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
