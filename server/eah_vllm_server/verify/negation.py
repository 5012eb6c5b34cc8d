"""Finds the parts of a text that say what is not there: "no dog", "without a car or a bus", "a cat is not visible".

A caption that says so claims nothing, so nothing is asked about it. Only common wordings are known, most of them
English. Where the rules are not sure, they leave a mention in, because asking costs less than believing.
"""

from __future__ import annotations

import re

from eah_vllm_server.verify.lexicon import words

_BEFORE = re.compile(
    r"""(?<!\w)(?:
      no(?!\s+(?:longer|one|doubt|matter|more|less|fewer)\b)
    | without | neither | nor | lack(?:s|ing|\s+of)? | absence\s+of | devoid\s+of | free\s+(?:of|from)
    | instead\s+of | rather\s+than
    | (?:not|cannot|\w+n't)(?:\s+(?:actually|really|clearly|even|appear|seem|to|be|have|seen?|there))*\s+
      (?:shows?|contains?|includes?|features?|depicts?|displays?|an?|any|wear(?:ing)?|hold(?:ing)?|carry(?:ing)?
       |riding|using|have|has|see)
    | kein(?:e[nmrs]?)? | ohne | sans | pas\s+d[e'] | aucune? | sin | ning[uú]n[ao]?
    )(?!\w)""",
    re.VERBOSE,
)
_BEFORE_SPACELESS = re.compile(
    r"(?:没有|沒有|不见|不見|[无無])(?P<scope>[^\uff0c\u3002\uff1b\uff01\uff1f,.;!?\n的有但]*)"
)
_AFTER = re.compile(
    r"""\s(?:(?:is|are|was|were|can|could)(?:n't|n't\s+be|\s*not|\s*not\s+be)\s+(?:clearly\s+|actually\s+)?
      (?:visible|present|seen|shown|pictured|depicted|included|there|in\s+the\s+(?:image|picture|photo|scene|frame))
    | (?:is|are)\s+(?:absent|missing|nowhere)
    )(?!\w)""",
    re.VERBOSE,
)
_CLAUSE_START = re.compile(r"[,.;:!?\n()]|\b(?:but|while|and|although)\b")
_WORD = re.compile(r"[\w'-]+|[^\w\s]")
_MOST_WORDS = 14
_STOP = words(
    "is are was were be been being can could may might will would should has had in on at near with by under behind "
    "beside next from into onto over above below around between against along across through that which who whose "
    "where while but and as because so only just also there it they this these . ; : ! ? ( ) \u2014 \u2013"
)


def negated_parts(text: str) -> list[tuple[int, int]]:
    """Return the parts `[start, end)` of a folded text in which a mention claims nothing."""
    parts = [(match.end(), _scope_end(text, match.end())) for match in _BEFORE.finditer(text)]
    parts += [match.span("scope") for match in _BEFORE_SPACELESS.finditer(text)]
    for match in _AFTER.finditer(text):
        starts = [start.end() for start in _CLAUSE_START.finditer(text, 0, match.start())]
        parts.append((starts[-1] if starts else 0, match.start()))
    return parts


def _scope_end(text: str, start: int) -> int:
    """Return where the words end that "no" and its like govern; a list goes on only if it is joined by "or"."""
    end, comma = start, None
    for count, match in enumerate(_WORD.finditer(text, start)):
        word = match[0]
        if word in _STOP or count == _MOST_WORDS or "\n" in text[end : match.start()]:
            break
        if word in ("or", "nor"):
            comma = None
        elif word == "," and comma is None:
            comma = match.start()
        end = match.end()
    return end if comma is None else comma
