"""Cuts one class or function out of the text of a module, so that no more than that is parsed."""

import ast
import re
from collections.abc import Iterator
from textwrap import dedent


def block(text: str, name: str, indent: int = 0) -> str | None:
    """Return the text of the class or function of that name, so that only it is parsed: vLLM has files of 7,000 lines.

    If there are several of that name, it is the last one: those before it are overloads.
    """
    margin = "\n" + " " * indent
    heads = (f"{margin}{keyword} {name}" for keyword in ("class", "def", "async def"))
    start = max(_rfind_word(text, head) for head in heads)
    if start < 0:
        return None
    # The block ends before the next line that is not indented more deeply.
    stop = re.compile(rf"^ {{0,{indent}}}[^\s#)]", re.MULTILINE).search(text, start + len(margin) + 1)
    decorators = start
    while text.startswith(margin + "@", above := text.rfind("\n", 0, decorators)):
        decorators = above
    found = text[decorators : stop.start() if stop else None]
    return dedent(found) if indent else found


def _rfind_word(text: str, word: str) -> int:
    """Return the last place of the word, except as the beginning of a longer one or as the setter of a property."""
    at = len(text)
    while (at := text.rfind(word, 0, at)) >= 0:
        longer = text[at + len(word) : at + len(word) + 1]
        if not (longer.isalnum() or longer == "_" or text[:at].endswith(".setter")):
            break
    return at


def parsed(block: str | None) -> ast.AST | None:
    """Parse a block; return None where there is none, or where it does not stand by itself."""
    try:
        return ast.parse(block).body[0] if block is not None else None
    except SyntaxError:  # a string in it has a line without indentation, so the whole file must be parsed
        return None


def attribute(block: str, name: str) -> str | None:
    """Return the text of the statement by which a class's body assigns or annotates an attribute; None if none does."""
    margin = f"\n    {name}"
    start = re.search(rf"{margin}\s*[:=]", block) if margin in block else None
    if start is None:
        return None
    stop = re.compile(r"^ {0,4}[^\s)]", re.MULTILINE).search(block, start.end())
    return dedent(block[start.start() : stop.start() if stop else None])


def bases(block: str) -> Iterator[str]:
    """Yield the names of a class's bases, as its text has them."""
    header = re.match(r"(?:@.*\n)*class \w+\(([^()]*)\):", block.lstrip("\n"))
    for base in header[1].split(",") if header else ():
        yield base.partition("[")[0].strip()
