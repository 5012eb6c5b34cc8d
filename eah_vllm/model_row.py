"""What is known about one architecture: the form of a row of `models.py`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["tested here", "same mechanism, untested", "refused"]
TESTED: Verdict = "tested here"
UNTESTED: Verdict = "same mechanism, untested"
REFUSED: Verdict = "refused"

ALL = "the whole placeholder; start and end tokens lie outside it"
IMAGE, VIDEO = ("image",), ("image", "video")
# The paper's 0.002 is 1.25/S at LLaVA-1.5's prompts of about 625 tokens, and far too strict or too lax at others.
RELATIVE: dict[str, Any] = {"relative_threshold": 1.25}

Grid = Literal["unknown", "square", "merged", "newlines", "lines", "tiles"]
UNKNOWN: Grid = "unknown"
SQUARE: Grid = "square"
"""One square of tokens for the picture, or for the square in its middle."""
MERGED: Grid = "merged"
"""One grid for the whole picture, as large as `image_grid_thw` says, with patches merged into tokens."""
WITH_NEWLINES: Grid = "newlines"
"""A square for the whole picture, then a finer grid with a newline embedding at the end of each row."""
LINES: Grid = "lines"
"""One grid for the whole picture, with a text token after each row."""
TILES: Grid = "tiles"
"""Equal squares, one for each tile of the picture, row by row; where there are several, the last one is all of it."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is known about one architecture."""

    architecture: str
    """As in a checkpoint's `config.json`."""
    family: str
    verdict: Verdict
    image_tokens: str = ALL
    """Which tokens of a prompt count as image tokens."""
    modalities: tuple[str, ...] = IMAGE
    """Modalities whose tokens count as image tokens."""
    start: Mapping[str, Any] = field(default_factory=lambda: RELATIVE)
    """Options that differ from the paper's before anybody has said anything; everything else overrides them."""
    note: str = ""
    """Why it is refused, published figures, known harm."""
    grid: Grid = UNKNOWN
    """How a picture's tokens lie over it, for the inspector."""
    mechanism: bool = True
    """Whether the model is loaded with EAH; false where no layer could ever be changed."""

    def facts(self) -> dict[str, Any]:
        """Return the row as JSON data."""
        found = {name: value for name, value in asdict(self).items() if name != "mechanism"}
        return found | {"modalities": list(self.modalities)}
