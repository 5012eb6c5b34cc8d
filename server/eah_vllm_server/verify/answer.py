"""The visible text of a reply: what a check looks at, in the three forms of the API, whole or streamed."""

from collections.abc import Iterator, Mapping
from typing import Any


class AnswerText:
    """Gathers the text of one reply from its JSON object or from the events of its stream.

    Reasoning and calls of tools are no part of it. Several blocks of text count as one text, each right behind the one
    before it.
    """

    def __init__(self) -> None:
        self._streamed: list[str] = []
        self._whole: str | None = None
        self.failed = False
        """Whether a stream says that its answer failed; there is then nothing to check."""
        self.blocks = 0
        """Blocks of text in a whole reply."""
        self.model: str | None = None
        """Name of the model, or of the adapter, that gave the answer."""

    @property
    def text(self) -> str:
        """What has been seen so far."""
        return "".join(self._streamed) if self._whole is None else self._whole

    def see(self, data: Mapping[str, Any]) -> None:
        """Read a reply, or one event of a stream."""
        kind = data.get("type")
        for holder in (data, data.get("response"), data.get("message")):
            if isinstance(holder, Mapping):
                self.model = holder.get("model") or self.model
        self.failed = self.failed or kind == "response.failed"
        if kind == "content_block_delta":
            self._streamed.append(data["delta"].get("text") or "")
        elif kind == "response.output_text.delta":
            self._streamed.append(data.get("delta") or "")
        elif data.get("object") == "chat.completion.chunk":
            self._streamed += [choice["delta"].get("content") or "" for choice in data["choices"]]
        elif places := list(text_places(data)):
            self._whole = "".join(holder[name] for holder, name in places)
            self.blocks = len(places)


def text_places(reply: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield where a whole reply holds its text: an object, and the name of its field, for each block."""
    for choice in reply.get("choices") or ():  # chat completions
        if isinstance(choice["message"].get("content"), str):
            yield choice["message"], "content"
    for item in reply.get("output") or ():  # responses
        if item.get("type") == "message":
            yield from ((part, "text") for part in item["content"] if part.get("type") == "output_text")
    if reply.get("type") == "message":  # messages
        yield from ((block, "text") for block in reply["content"] if block.get("type") == "text")
