"""What an inspection reads from a prompt that vLLM has rendered: where the pictures are, and what is known of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from eah_vllm.options import OptionError

FACTS = ("image_grid_thw", "image_sizes", "num_patches", "image_num_patches")
"""What processors say about the shape of a picture, beside its pixels."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture in a prompt."""

    modality: str
    runs: tuple[int, ...]
    """Lengths of its runs of image tokens; text tokens stand between two runs."""
    facts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    """Width and height in pixels, as it was sent; None where that is not known."""

    @property
    def tokens(self) -> int:
        """Number of image tokens."""
        return sum(self.runs)


@dataclass(slots=True)
class SeenPrompt:
    """The prompt of one inspection, filled while vLLM renders it.

    Args:
        modalities: those whose tokens count as image tokens in this model.
        most_tokens: length of the longest prompt that can be inspected.
    """

    modalities: Sequence[str]
    most_tokens: int
    tokens: int = 0
    pictures: tuple[Picture, ...] = ()

    def look(self, prompt: Mapping[str, Any]) -> None:
        """Read vLLM's `EngineInput`.

        Raises:
            OptionError: there is nothing to inspect, or it is longer than a step of this server.
        """
        self.tokens = len(prompt.get("prompt_token_ids") or ())
        placeholders = prompt.get("mm_placeholders") or {}
        found = []
        for modality in self.modalities:
            places = placeholders.get(modality, ())
            items = (prompt.get("mm_kwargs") or {}).get(modality) or [None] * len(places)
            found += [
                (place.offset, _picture(modality, place, item)) for place, item in zip(places, items, strict=True)
            ]
        self.pictures = tuple(picture for _, picture in sorted(found, key=lambda both: both[0]))
        if not self.pictures:
            raise OptionError("messages", f"must hold a picture ({' or '.join(self.modalities)}) to inspect, got none")
        if self.tokens > self.most_tokens:
            raise OptionError(
                "messages",
                f"this server inspects prompts of at most {self.most_tokens} tokens, which a step can hold "
                f"(--max-num-batched-tokens), got {self.tokens}",
            )


def _picture(modality: str, place: Any, item: Any) -> Picture:
    mask = [True] * place.length if place.is_embed is None else place.is_embed.tolist()
    runs = tuple(sum(1 for _ in run) for embedded, run in groupby(mask) if embedded)
    facts = {name: item[name].data for name in FACTS if item is not None and name in item}
    return Picture(modality, runs, {name: _flat(data) for name, data in facts.items() if data is not None})


def _flat(data: Any) -> list[int]:
    return [int(number) for number in data.flatten().tolist()] if hasattr(data, "flatten") else [int(data)]
