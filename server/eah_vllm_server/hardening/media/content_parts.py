"""Checks what a content part of a message holds when it comes over HTTP.

vLLM's parts are made for Python programs as well: some hold a Python object (`image_pil`), and the model's processor
opens or fetches a text in such a place, past every rule for media. So only the parts that the HTTP API documents are
let through, and their values must be what it documents.
"""

import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from PIL import Image
from pydantic import ValidationError
from vllm.exceptions import VLLMValidationError

TEXT_TYPES = frozenset({"text", "input_text", "output_text", "refusal", "thinking", "tool_reference"})
URL_TYPES = {"image_url": "image_url", "input_image": "image_url", "audio_url": "audio_url", "video_url": "video_url"}
"""By the type of a part, the field that holds its URL, as a text or as `{"url": text}`."""
AUDIO = "input_audio"
EMBEDDING_TYPES = frozenset({"image_embeds", "audio_embeds", "video_embeds"})
"""Types that are allowed only on a server that was started with `--enable-mm-embeds`."""
OBJECT_FIELD = "image_pil"
"""vLLM's own code puts pictures that it has read already into this field; no JSON can hold one."""
NEVER = frozenset({OBJECT_FIELD, "prompt_embeds"})
URL_FIELDS = frozenset(URL_TYPES.values())
REFUSED_BY_DEFAULT = NEVER | EMBEDDING_TYPES
DOCUMENTED = TEXT_TYPES | URL_TYPES.keys() | {AUDIO}
WITH_EMBEDDINGS = DOCUMENTED | EMBEDDING_TYPES


def check_message(message: Any, *, embeddings: bool) -> None:
    """Check the content of one chat message, as vLLM's renderer is about to get it.

    vLLM's request models leave `content` as an iterator that can be read only once, so it becomes a list here.

    Args:
        message: a message; one that is no mapping is left to vLLM to refuse.
        embeddings: whether the server takes embeddings in place of media.

    Raises:
        VLLMValidationError: a part is of another kind, or holds a value that its kind does not allow.
    """
    if not isinstance(message, dict) or not isinstance(content := message.get("content"), Iterable):
        return
    if isinstance(content, str):
        return
    try:
        parts = message["content"] = list(content)
    except ValidationError as error:  # the iterator checks OpenAI's own parts, and lists every kind that one is not
        part = error.errors()[0]["input"]
        if isinstance(part, Mapping):
            _check_part(part, embeddings)
        refuse_part("content", f"a content part lacks what its type needs, got {reprlib.repr(part)}")
    for part in parts:
        if isinstance(part, Mapping):
            _check_part(part, embeddings)
        elif not isinstance(part, str):
            refuse_part("content", f"a part of a message must be an object with a type, got {reprlib.repr(part)}")


def _check_part(part: Mapping[str, Any], embeddings: bool) -> None:
    kind = part.get("type")
    allowed, refused = (WITH_EMBEDDINGS, NEVER) if embeddings else (DOCUMENTED, REFUSED_BY_DEFAULT)
    if OBJECT_FIELD in (kind, *part) and isinstance(part.get(OBJECT_FIELD), Image.Image):
        return
    # Where a part has no type, or has a name (`uuid`), vLLM looks at its fields and not at its type.
    for field in refused:
        if field in part or field == kind:
            refuse_part(field, f"this server takes no {field} in a message; {_known(allowed)}")
    if kind is not None and (not isinstance(kind, str) or kind not in allowed):
        refuse_part("type", f"{reprlib.repr(kind)} is no type of a content part; {_known(allowed)}")
    for field in URL_FIELDS & part.keys():
        _check_url(field, part[field])
    for field in EMBEDDING_TYPES & part.keys():
        _check_embeddings(field, part[field])
    if AUDIO in part and not _texts(part[AUDIO], needed="data"):
        refuse_part(AUDIO, f'must be {{"data": BASE64, "format": "wav"}}, got {reprlib.repr(part[AUDIO])}')


def _check_url(field: str, value: Any) -> None:
    url = value.get("url") if isinstance(value, Mapping) else value
    # None means that the picture was sent before, and is now asked for by its name (`uuid`).
    if url is not None and not isinstance(url, str):
        refuse_part(field, f'must be a URL, or {{"url": URL}}, got {reprlib.repr(value)}')


def _check_embeddings(field: str, value: Any) -> None:
    if not (value is None or isinstance(value, str) or _texts(value)):
        refuse_part(field, f"must be the base64 of a .npy file, or an object of such texts, got {reprlib.repr(value)}")


def _texts(value: Any, needed: str | None = None) -> bool:
    if not isinstance(value, Mapping) or (needed is not None and needed not in value):
        return False
    return all(isinstance(text, str) for text in value.values())


def _known(allowed: Iterable[str]) -> str:
    return f"the types of parts are {', '.join(sorted(allowed))}"


def refuse_part(field: str, message: str) -> NoReturn:
    """Refuse a request for one of its content parts.

    Raises:
        VLLMValidationError: always; answered with 400.
    """
    raise VLLMValidationError(f"{field}: {message}", parameter=field)
