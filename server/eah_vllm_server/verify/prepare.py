"""Reads the field `verify` of a request, before vLLM sees the request, and prepares its check."""

from dataclasses import dataclass
from typing import Any

from vllm import envs
from vllm.entrypoints.openai.models.serving import OpenAIServingModels

from eah_vllm.options import OptionError
from eah_vllm_server.gate import Gate
from eah_vllm_server.hardening.media.kept import Kept
from eah_vllm_server.verify.answer_tokens import answer_tokens
from eah_vllm_server.verify.ask import Calls, Engine
from eah_vllm_server.verify.extractors import refuse_unavailable
from eah_vllm_server.verify.flow import Check
from eah_vllm_server.verify.options import FIELD, OBJECT, VerifyDefaults, VerifyOptions, resolve


@dataclass(frozen=True, slots=True)
class Verifier:
    """What the checks of this server share."""

    engine: Engine
    models: OpenAIServingModels
    gate: Gate
    defaults: VerifyDefaults

    def prepare(self, request: Any, by_alias: bool) -> Check | None:
        """Return the check that a request asks for, None where it asks for none; `verify: false` wins over an alias.

        Args:
            request: a request with the field `verify`; its `model` is a name that vLLM knows.
            by_alias: whether the name that the client sent asks for a check.

        Raises:
            OptionError: an option is impossible, or cannot be combined with another field.
        """
        said = request.verify
        if said is False or (said is None and not by_alias):
            return None
        options = resolve(said if isinstance(said, VerifyOptions) else VerifyOptions(), self.defaults)
        _refuse_combinations(request, options)
        refuse_unavailable(options)
        special = self.engine.special_tokens
        for token in special:
            if token in options.question:
                raise OptionError(f"{FIELD}.question", f"must hold {OBJECT} and no special token, got {token!r}")
        tokens = answer_tokens(self.engine.tokenizer, tuple(options.yes), tuple(options.no))
        calls = Calls(
            engine=self.engine,
            kept=Kept(),
            gate=self.gate,
            models=self.models,
            adapter=self.models.lora_requests.get(request.model),
            priority=getattr(request, "priority", 0),
        )
        return Check(options, tokens, calls)


def _refuse_combinations(request: Any, options: VerifyDefaults) -> None:
    asked = f'verify with action "{options.action}"'
    if (getattr(request, "n", None) or 1) > 1:
        raise OptionError("n", f"cannot be combined with verify, which checks one answer; send n 1, got {request.n}")
    if getattr(request, "background", False):
        raise OptionError("background", "cannot be combined with verify; send one of them")
    if options.action == "report":
        return
    if request.stream:
        raise OptionError(
            "stream", f"cannot be combined with {asked}, which needs the whole answer before its first word"
        )
    if getattr(request, "store", False) and envs.VLLM_ENABLE_RESPONSES_API_STORE:
        raise OptionError("store", f"cannot be combined with {asked}: another text would be stored; send store false")
    if options.rewrites and (field := _bound_to_the_text(request)):
        raise OptionError(field, f"cannot be combined with {asked}, since it would no longer fit the text")
    if options.action == "best_of" and (request.temperature == 0 or getattr(request, "use_beam_search", False)):
        field = "temperature" if request.temperature == 0 else "use_beam_search"
        raise OptionError(field, f"cannot be combined with {asked}, which samples answers that differ")


def _bound_to_the_text(request: Any) -> str | None:
    """Return a field of the request whose answer, or whose promise, would be wrong for another text."""
    said = {name: getattr(request, name, None) for name in ("logprobs", "return_token_ids", "structured_outputs")}
    for name in ("response_format", "text", "output_config"):
        shape = getattr(request, name, None)
        shape = getattr(shape, "format", shape) if name != "response_format" else shape
        said[name] = getattr(shape, "type", "text") != "text"
    said["include"] = "message.output_text.logprobs" in (getattr(request, "include", None) or ())
    return next((name for name, value in said.items() if value), None)
