"""Finds the image tokens of a prompt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageSpan:
    """A half-open run of image tokens, in prompt positions."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def image_spans(placeholders: Iterable[tuple[int, int, Sequence[bool] | None]]) -> tuple[ImageSpan, ...]:
    """Return the image spans in prompt order.

    Args:
        placeholders: for each image (offset, length, is_embed): the range that stands for it in the prompt, in tokens,
           and which positions of the range carry image embeddings (None means all). Separators inside a range cut the
           span.
    """
    spans = []
    for offset, length, is_embed in placeholders:
        mask = [True] * length if is_embed is None else [bool(flag) for flag in is_embed]
        edges = [idx for idx in range(length + 1) if (idx < length and mask[idx]) != (idx > 0 and mask[idx - 1])]
        spans += [ImageSpan(offset + a, offset + b) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return tuple(sorted(spans, key=lambda span: span.start))


def image_columns(spans: Sequence[ImageSpan], *, drop_first: bool = False) -> list[int]:
    """Return the prompt positions of the image tokens; `drop_first` omits each span's first, as `[36:611]` does.

    That slice is the one of the released code.
    """
    return [column for span in spans for column in range(span.start + drop_first, span.stop)]
