"""What becomes of each sentence of an answer once denied objects are taken out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from eah_vllm_server.verify.cursor import NotRead
from eah_vllm_server.verify.grammar import Clause, tokens_of
from eah_vllm_server.verify.leaning import Leaning
from eah_vllm_server.verify.mentions import Mention
from eah_vllm_server.verify.parser import parse
from eah_vllm_server.verify.prune import Mixed, Pruner
from eah_vllm_server.verify.sentences import Sentence, join, split
from eah_vllm_server.verify.tokens import Token, tokenize


@dataclass(frozen=True, slots=True)
class Left:
    """What has become of a sentence; `text` is None if it is gone, `mixed` says that it could not be split."""

    text: str | None
    tokens: list[Token]
    mixed: bool


class Removal:
    """An answer whose denied objects are taken out, sentence by sentence."""

    def __init__(self, answer: str, mentions: Sequence[Mention], denied: Collection[str]) -> None:
        self._answer = answer
        self._marked = [(mention, mention.object in denied) for mention in mentions]
        self.sentences = split(answer)

    def text(self, instead: Mapping[int, str] | None = None) -> str:
        """Return what is left of the answer; `instead` has texts for some sentences, by their index."""
        if not any(gone for _, gone in self._marked):
            return self._answer
        return join(self.sentences, [left.text for left in self.left(instead)])

    def sentence(self, i: int) -> tuple[str, list[Mention]]:
        """Return the text of a sentence without its closing sign, and its mentions, whose places are the answer's."""
        start, end = self.sentences[i].start, self.sentences[i].end
        return self._answer[start:end], [m for m, _ in self._marked if start <= m.start and m.end <= end]

    def left(self, instead: Mapping[int, str] | None = None) -> list[Left]:
        """Return what becomes of each sentence; `instead` has texts for some, by their index."""
        leaning = Leaning()
        under_denied = self._under_denied_labels()
        named: set[str] = set()
        result = []
        for i, sentence in enumerate(self.sentences):
            if "**" in sentence.marker:
                leaning.forget()  # "it" is what the label names
            tokens = leaning.deny_pronouns(tokenize(self._answer, sentence.start, sentence.end, self._marked))
            # What an earlier sentence names may be lost here.
            tokens = [replace(token, kept=token.kept and token.object not in named) for token in tokens]
            if i in under_denied:
                left = Left(None, [], any(token.kept for token in tokens))
            elif instead and i in instead:
                left = Left(instead[i], [token for token in tokens if not token.denied], False)
            else:
                left = self._reduce(sentence, tokens, leaning)
            leaning.note(tokens, left.text is not None, left.tokens)
            named |= {token.object for token in left.tokens if token.object}
            result.append(left)
        return [replace(left, mixed=left.mixed and self._loses(i, named)) for i, left in enumerate(result)]

    def _under_denied_labels(self) -> set[int]:
        """Return the sentences of lines whose label ("**Dog:**") names a denied object."""
        found: set[int] = set()
        label = False
        for i, sentence in enumerate(self.sentences):
            begin = sentence.start - len(sentence.marker)
            if sentence.marker:
                label = any(gone and begin <= mention.start < sentence.start for mention, gone in self._marked)
            if label:
                found.add(i)
            label = label and "\n" not in sentence.gap
        return found

    def _loses(self, i: int, named: Collection[str]) -> bool:
        _, mentions = self.sentence(i)
        gone = {mention.object for mention, is_denied in self._marked if is_denied}
        return any(mention.object not in gone and mention.object not in named for mention in mentions)

    def _reduce(self, sentence: Sentence, tokens: list[Token], leaning: Leaning) -> Left:
        original = self._answer[sentence.start : sentence.end]
        if not any(token.denied for token in tokens):
            changed = leaning.without_also(tokens) if leaning.last_gone or not leaning.something_left else tokens
            if not any(gone for mention, gone in self._marked if mention.start < sentence.start):
                return Left(original, tokens, False)
            try:
                clauses = leaning.without_openers(parse(tokens))
                changed = leaning.without_also([token for clause in clauses for token in tokens_of(clause)])
            except NotRead:
                pass
            same = len(changed) == len(tokens)
            return Left(original if same else self._render(changed, tokens), changed, False)
        try:
            clauses = parse(tokens)
        except NotRead:
            return Left(None, [], any(token.kept for token in tokens))
        mixed = False
        try:
            left = Pruner(strict=True).sentence(clauses)
        except Mixed:
            mixed = True
            left = Pruner(strict=False).sentence(clauses)
        if not left:
            return Left(None, [], mixed)
        return self._finish(leaning.without_openers(left), tokens, leaning, mixed)

    def _finish(self, clauses: list[Clause], tokens: list[Token], leaning: Leaning, mixed: bool) -> Left:
        left = leaning.without_also([token for clause in clauses for token in tokens_of(clause)])
        if not _is_whole(left, tokens):
            return Left(None, [], any(token.kept for token in tokens))
        return Left(self._render(left, tokens), left, mixed)

    def _render(self, left: Sequence[Token], before: Sequence[Token]) -> str:
        follows = {a.start: b.start for a, b in pairwise(before)}
        text = ""
        for i, token in enumerate(left):
            if i:
                last = left[i - 1]
                beside = follows.get(last.start) == token.start
                gap = self._answer[last.end : token.start] if beside else " "
                text += "" if not beside and token.tag in (",", ";", ":", ".") else gap
            text += token.text
        if before[0].text[:1].isupper():
            text = text[:1].upper() + text[1:]
        return re.sub(r"[*`]+", "", text) if text.count("*") % 4 or text.count("`") % 2 else text  # half of an emphasis


def _is_whole(tokens: Sequence[Token], before: Sequence[Token]) -> bool:
    """Say whether the tokens can stand as a sentence, as far as their first and last words show."""
    if not tokens or any(token.denied for token in tokens):
        return False
    first, last = tokens[0], tokens[-1]
    starts = first.tag in ("the", "word", "noun", "it", "adv", "prep", "ing", "part", "while", "aux", "verb")
    followed = next((b.tag for a, b in pairwise(before) if a.start == last.start), "end")
    ends = last.tag in ("word", "noun", "adv", "ing", "part", "verb", "it") or (
        last.tag == "prep" and followed not in ("the", "word", "noun", "it", "who", "ing")
    )
    return starts and ends and any(token.tag in ("word", "noun", "it") for token in tokens)
