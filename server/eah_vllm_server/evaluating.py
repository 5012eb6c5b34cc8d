"""What `eah-vllm eval` needs of the server's own code; `eah_vllm`, where the evaluation is, does not import it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from eah_vllm_server.verify.mentions import Mention
from eah_vllm_server.verify.rewrite import remove


def remove_objects(text: str, mentions: Sequence[Mapping[str, Any]], denied: Collection[str]) -> str:
    """Take objects out of a text as `verify` with `rewrite` does; the mentions are those of a reply."""
    places = [Mention(one["text"], one["start"], one["end"], one["object"]) for one in mentions]
    return remove(text, places, denied)
