"""The forms in which a text may write the name of an object: singular and plural, one word or several."""

from __future__ import annotations

from eah_vllm.evaluation.tasks.plurals import IRREGULAR, plurals
from eah_vllm_server.verify.lexicon import words

_IRREGULAR = {
    "deer": ("deer",),
    "fish": ("fish", "fishes"),
    "foot": ("feet",),
    "half": ("halves",),
    "human": ("humans",),
    "leaf": ("leaves",),
    "life": ("lives",),
    "loaf": ("loaves",),
    "person": ("people", "persons"),
    "scarf": ("scarves", "scarfs"),
    "sheep": ("sheep",),
    "shelf": ("shelves",),
    "tooth": ("teeth",),
    "wife": ("wives",),
    "wolf": ("wolves",),
}
_LAST_LATIN = "\u024f"
_ALWAYS_PLURAL = words(
    "binoculars clothes glasses goggles headphones jeans leggings overalls pajamas pants scissors shorts skis stairs "
    "sunglasses tongs trousers"
)
_SINGULAR_ENDINGS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("men", "man"), ("es", ""), ("s", ""))


def forms(name: str) -> tuple[str, ...]:
    """Return a name in lower case and its plurals; "glass of wine" has "glasses of wine" too."""
    head, of, rest = name.partition(" of ")
    before, space, noun = head.rpartition(" ")
    if not noun[-1:].isalpha() or noun[-1] > _LAST_LATIN or noun in _ALWAYS_PLURAL:
        return (name,)
    found = _IRREGULAR.get(noun) or _as_last_part(noun) or plurals(noun)
    return tuple(dict.fromkeys([name, *(f"{before}{space}{plural}{of}{rest}" for plural in found)]))


def _as_last_part(noun: str) -> tuple[str, ...]:
    """Return plurals of a noun that ends in an irregular one, such as "bookshelf" or "policewoman"."""
    return next(
        (
            tuple(noun.removesuffix(end) + plural for plural in found)
            for end, found in _IRREGULAR.items()
            if noun.endswith(end) and end not in ("life", "half", "deer")
        ),
        (),
    )


def singular(name: str) -> str:
    """Return the singular of a name in lower case; a name that is none, or that has none, comes back as it is."""
    head, of, rest = name.partition(" of ")
    before, space, noun = head.rpartition(" ")
    return f"{before}{space}{_singular_noun(noun)}{of}{rest}"


def _singular_noun(noun: str) -> str:
    irregular = {plural: word for word, found in _IRREGULAR.items() for plural in found}
    irregular |= {plural: word for word, plural in IRREGULAR.items()}
    if noun in irregular or noun in _ALWAYS_PLURAL or noun.endswith(("ss", "us", "is")):
        return irregular.get(noun, noun)
    for ending, replaced in _SINGULAR_ENDINGS:
        candidate = noun.removesuffix(ending) + replaced
        if noun.endswith(ending) and len(candidate) > 1 and noun in forms(candidate)[1:]:
            return candidate
    return noun
