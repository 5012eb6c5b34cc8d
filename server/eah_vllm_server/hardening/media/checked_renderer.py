"""Checks messages from HTTP clients before vLLM's renderer, which serves every route, turns them into prompts."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from vllm.exceptions import VLLMValidationError

from eah_vllm_server.hardening.media.content_parts import check_message
from eah_vllm_server.hardening.media.kept import KEPT

if TYPE_CHECKING:
    from vllm.renderers.base import BaseRenderer
    from vllm.renderers.online_renderer import OnlineRenderer
    from vllm.renderers.params import ChatParams, TokenizeParams


TRUNCATE = "truncate_prompt_tokens"
ON_PROMPT: ContextVar[Callable[[Any], None] | None] = ContextVar("eah_on_prompt", default=None)
"""Called with each prompt of the request under way before the engine gets it; what it raises refuses the request."""


class CheckedRenderer:
    """Wraps vLLM's renderer; messages reach it only when their content is what the HTTP API documents.

    Chat completions, their batches, responses, messages, `/tokenize`, `/invocations` and the routes that vLLM has for
    some models and options all render through one object, so a route cannot be forgotten.
    """

    def __init__(self, renderer: "BaseRenderer[Any]", *, parts: bool, embeddings: bool) -> None:
        self._renderer = renderer
        self._parts = parts
        self._embeddings = embeddings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._renderer, name)

    async def render_chat_async(
        self,
        conversations: Sequence[list[Any]],
        chat_params: "ChatParams",
        tok_params: "TokenizeParams | None" = None,
        **kwargs: Any,
    ) -> Any:
        """Check every message, then let vLLM render.

        Raises:
            VLLMValidationError: no client may send such a content part, or the prompt would be cut before its
               picture; it is answered with 400.
        """
        for conversation in conversations if self._parts else ():
            for message in conversation:
                check_message(message, embeddings=self._embeddings)
        if (kept := KEPT.get()) is not None:
            kept.note(conversations, chat_params, kwargs.get("prompt_extras"))
        try:
            rendered = await self._renderer.render_chat_async(conversations, chat_params, tok_params, **kwargs)
        except AssertionError as error:
            # vLLM first cuts the text of a prompt and then asserts that the place of each picture is still in it.
            length = tok_params.truncate_prompt_tokens if tok_params is not None else None
            if length is None:
                raise
            asked = f"{TRUNCATE}={length}" if length >= 0 else f"{TRUNCATE}=-1 (or truncation: auto)"
            raise VLLMValidationError(
                f"{asked} would cut a picture off; leave it out, or shorten the text", parameter=TRUNCATE
            ) from error
        if (look := ON_PROMPT.get()) is not None:
            for prompt in rendered[1]:
                look(prompt)
        return rendered


def check_messages_of_all_routes(online_renderer: "OnlineRenderer", *, parts: bool, embeddings: bool) -> None:
    """Let every route of this server render through a `CheckedRenderer`.

    Args:
        online_renderer: `app.state.online_renderer`, which all of vLLM's handlers share.
        parts: whether content parts are checked; that a picture is not cut off always is.
        embeddings: whether the server was started with `--enable-mm-embeds`.
    """
    checked = CheckedRenderer(online_renderer.renderer, parts=parts, embeddings=embeddings)
    online_renderer.renderer = checked  # type: ignore[assignment]
