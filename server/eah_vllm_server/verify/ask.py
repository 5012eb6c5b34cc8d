"""Sends the calls of a check to the engine that gave the answer: questions about pictures, and texts."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.outputs import RequestOutput
from vllm.renderers.params import ChatParams, TokenizeParams
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from eah_vllm_server.gate import Gate
from eah_vllm_server.hardening.media.kept import Kept
from eah_vllm_server.verify.answer_tokens import AnswerTokens, missing, p_yes
from eah_vllm_server.verify.mentions import TextCall
from eah_vllm_server.verify.places import places_for

if TYPE_CHECKING:
    from vllm.inputs import EngineInput
    from vllm.lora.request import LoRARequest
    from vllm.renderers.online_renderer import OnlineRenderer
    from vllm.v1.engine.async_llm import AsyncLLM

MOST_PROBABLE = 20
"""Tokens whose log-probabilities a question asks for; vLLM's default limit."""


class CheckError(ValueError):
    """A check cannot be made; the message is for the client."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What the calls of a check need of the server."""

    client: "AsyncLLM"
    online: "OnlineRenderer"
    """The renderer of all routes."""

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.online.renderer.get_tokenizer()

    @property
    def special_tokens(self) -> frozenset[str]:
        """Texts that are one token wherever they stand, such as placeholders of pictures and ends of turns."""
        return _special_tokens(self.tokenizer)


@lru_cache(maxsize=4)
def _special_tokens(tokenizer: Any) -> frozenset[str]:
    # Tokenizers do not call all of those special. An added token that is a word of letters alone is none.
    added: Mapping[str, int] = getattr(tokenizer, "get_added_vocab", dict)()
    marked = {text for text in added if any(not letter.isalnum() for letter in text) and text.strip()}
    return frozenset(tokenizer.all_special_tokens) | marked


@dataclass(slots=True, eq=False)
class Calls:
    """The calls of one check: each is plain, greedy, and carries the pictures or nothing of the conversation.

    Args:
        engine: the engine that gave the answer.
        kept: what the request showed.
        gate: counts the requests under way.
        models: the served names and adapters.
        adapter: the adapter that the request names.
        priority: priority of the request.
    """

    engine: Engine
    kept: Kept
    gate: Gate
    models: OpenAIServingModels
    adapter: "LoRARequest | None"
    priority: int
    tokens: int = 0
    """Tokens of all calls so far, prompts and what was generated."""
    cached_tokens: int = 0
    _own_place: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    def use_adapter_of(self, model: str | None) -> None:
        """Call the adapter that gave the answer, which vLLM may have chosen for its pictures; `model` is its name.

        Raises:
            CheckError: it is gone.
        """
        if self.adapter is None and model is not None:
            self.adapter = self.models.lora_requests.get(model)
            if self.adapter is None and model not in [path.name for path in self.models.base_model_paths]:
                raise CheckError(f"the adapter {model!r}, which gave the answer, is gone")

    async def believe(self, questions: Mapping[str, str], tokens: AnswerTokens) -> dict[str, float]:
        """Return P(yes) of each question, by the key it has in `questions`; all are asked at once."""
        async with places_for(self.gate, len(questions)) as places, asyncio.TaskGroup() as group:
            asked = {key: group.create_task(self._believe(text, tokens, places)) for key, text in questions.items()}
        return {key: task.result() for key, task in asked.items()}

    async def _believe(self, question: str, tokens: AnswerTokens, places: asyncio.Semaphore) -> float:
        content = [*(dict(picture) for picture in self.kept.pictures), {"type": "text", "text": question}]
        most = self.engine.client.vllm_config.model_config.max_logprobs
        most = MOST_PROBABLE if most < 0 else min(MOST_PROBABLE, most)
        async with places:
            scores, least = await self._scores(content, tokens.all, most)
            for token in missing(scores, least, tokens.all):
                scores |= (await self._scores(content, [token], 0))[0]
        return p_yes(scores, tokens)

    async def _scores(
        self, content: Sequence[dict[str, Any]], allowed: list[int], most: int
    ) -> tuple[dict[int, float], float | None]:
        """Return the scores of the most probable next tokens and of the allowed one that is generated.

        vLLM always returns the score of the token that it generates, however improbable that is. `logprob_token_ids`
        would return those of any tokens, but on Model Runner V1 a step with one such request returns the wrong tokens
        to all others that want log-probabilities.
        """
        output = await self._call(content, max_tokens=1, logprobs=most, allowed_token_ids=allowed, detokenize=False)
        positions = output.outputs[0].logprobs
        if not positions:
            raise CheckError("the engine returned no log-probabilities")
        returned = positions[0]
        ranked = [one.logprob for one in returned.values() if one.rank is not None and one.rank <= most]
        return {token: one.logprob for token, one in returned.items()}, min(ranked, default=None)

    async def text(self, call: TextCall) -> str:
        """Return the served model's answer to a text; one at a time, in the place of the request itself."""
        schema = None if call.json_schema is None else StructuredOutputsParams(json=dict(call.json_schema))
        content = [{"type": "text", "text": call.prompt}]
        async with self._own_place:
            output = await self._call(content, max_tokens=call.max_tokens, structured_outputs=schema)
        return output.outputs[0].text

    async def _call(self, content: Sequence[dict[str, Any]], **sampling: Any) -> RequestOutput:
        prompt = await self._render(content)
        room = self.engine.online.model_config.max_model_len - length_of(prompt)
        sampling["max_tokens"] = max(1, min(sampling["max_tokens"], room))  # where there is none, vLLM says so
        params = SamplingParams(temperature=0.0, output_kind=RequestOutputKind.FINAL_ONLY, **sampling)
        last = None
        async for output in self.engine.client.generate(
            prompt,
            params,
            f"verify-{uuid.uuid4().hex}",
            lora_request=self.adapter,
            priority=self.priority,
            reasoning_ended=True,  # the prompt asks for none, and a JSON schema holds only after it
        ):
            last = output
        if last is None:
            raise CheckError("the engine returned nothing")
        generated = sum(len(one.token_ids) for one in last.outputs)
        self.tokens += len(last.prompt_token_ids or ()) + generated
        self.cached_tokens += last.num_cached_tokens or 0
        return last

    async def _render(self, content: Sequence[dict[str, Any]]) -> "EngineInput":
        online, shown = self.engine.online, self.kept.chat_params
        assert shown is not None, "an answer has been given, so its messages were rendered"
        # The media are read and processed as the answer's were; nothing else of the request comes along.
        params = ChatParams(
            chat_template=online.chat_template,
            chat_template_content_format=online.chat_template_content_format,
            chat_template_kwargs=online.default_chat_template_kwargs
            | {"add_generation_prompt": True, "continue_final_message": False, "enable_thinking": False, "tools": None}
            | {"tokenize": shown.chat_template_kwargs.get("tokenize", False)},
            media_io_kwargs=shown.media_io_kwargs,
            mm_processor_kwargs=shown.mm_processor_kwargs,
        )
        length = TokenizeParams(max_total_tokens=online.model_config.max_model_len, add_special_tokens=False)
        _, (prompt,) = await online.renderer.render_chat_async(
            [[{"role": "user", "content": list(content)}]],
            params,
            length,
            prompt_extras=dict(self.kept.prompt_extras or {}),
        )
        return cast("EngineInput", prompt)


def length_of(prompt: "EngineInput") -> int:
    """Return the tokens of a prompt."""
    tokens: Any = prompt.get("prompt_token_ids")
    return len(tokens or ())
