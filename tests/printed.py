"""Takes out of a page what it prints: its snippets, as they can be run here, and the rows of its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tools import ROOT
from tools.serving import API_KEY, Server

ADDRESS, NO_KEY = "http://localhost:8000", "none"
FENCE = re.compile(r"^ *```(\w+)(?: client=(\S+))?\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
VARIES = "..."
"""What a page writes for the part of a message that differs from one to the next."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A block of code of a page."""

    language: str
    client: str
    """The package that it needs, from the words after the fence (`client=openai`); empty where there are none."""
    code: str

    def here(self, server: Server) -> str:
        """Return the code as printed but for the address and the key of the server."""
        code = self.code.replace(ADDRESS, server.url).replace(f'"{NO_KEY}"', f'"{API_KEY}"')
        code = code.replace(f"Bearer {NO_KEY}", f"Bearer {API_KEY}")
        if self.language == "bash" and API_KEY not in code:
            code = code.replace("curl -s ", f"curl -s -H 'Authorization: Bearer {API_KEY}' ")
            code = f"export VLLM_API_KEY={API_KEY}\n" + code.replace(" --model ", f" --api-key {API_KEY} --model ")
        return code


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def snippets(page: str) -> list[Snippet]:
    """Return the blocks of code of a page, in order."""
    return [Snippet(language, client, code) for language, client, code in FENCE.findall(text_of(page))]


def asking(page: str, language: str) -> Snippet:
    """Return the first block in a language that asks a server."""
    return next(one for one in snippets(page) if one.language == language and ADDRESS in one.code)


def rows(page: str) -> Iterator[Mapping[str, str]]:
    """Yield the rows of all tables of a page, by the names in the tables' heads."""
    head: list[str] = []
    for line in text_of(page).splitlines():
        cells = [cell.strip() for cell in re.split(r" \|(?= )", line[1:].removesuffix("|") + " ")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        elif set(line) - set("|- "):
            yield dict(zip(head, cells, strict=True))


def messages(page: str, column: str) -> list[str]:
    """Return what stands as code in a column: the beginnings of messages."""
    return [code for row in rows(page) for code in re.findall(r"`([^`]+)`", row.get(column, ""))]


def begins(message: str, printed: str) -> bool:
    """Whether a message begins as a page prints it."""
    pattern = ".*?".join(re.escape(part) for part in printed.split(VARIES))
    return re.match(pattern, message.replace("`", ""), re.DOTALL) is not None
