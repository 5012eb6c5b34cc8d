"""Names of models: the names that are served, and for each of them an alias that switches EAH on."""

import json
from dataclasses import dataclass

from fastapi.responses import JSONResponse, Response
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.engine.protocol import ModelCard

from eah_vllm.options import shown
from eah_vllm_server.reply import with_body

ALIAS_SUFFIX = ":eah"


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The names that a request's `model` may be; adapters come and go while the server runs, so none is cached here."""

    serving: OpenAIServingModels

    def base(self) -> list[str]:
        """Names of the model itself; replies carry the first one."""
        return [path.name for path in self.serving.base_model_paths]

    def exact(self) -> list[str]:
        """Every name that vLLM serves: the model's, and the LoRA adapters'."""
        return [*self.base(), *self.serving.lora_requests]

    def aliases(self) -> list[str]:
        """The alias of each name, except an alias that is itself a served name."""
        exact = dict.fromkeys(self.exact())
        return [name + ALIAS_SUFFIX for name in exact if name + ALIAS_SUFFIX not in exact]

    def resolve(self, asked: str | None) -> tuple[str | None, bool]:
        """Return the name that vLLM knows, and whether `asked` is an alias of it; a served name is never an alias."""
        if asked is None or not asked.endswith(ALIAS_SUFFIX) or asked in self.exact():
            return asked, False
        return asked.removesuffix(ALIAS_SUFFIX), True

    def cards(self, listed: list[ModelCard]) -> list[ModelCard]:
        """Return the cards of `/v1/models`: those that vLLM lists, and one for each alias."""
        cards = {card.id: card for card in listed}
        aliases = [name for name in self.aliases() if name.removesuffix(ALIAS_SUFFIX) in cards]
        return listed + [cards[name.removesuffix(ALIAS_SUFFIX)].model_copy(update={"id": name}) for name in aliases]

    def explain(self, response: Response, asked: str | None) -> Response:
        """Return the same response, but let a 404 for an unknown name say which names and aliases there are."""
        if response.status_code != 404 or asked is None or not isinstance(response, JSONResponse):
            return response
        body = json.loads(bytes(response.body))
        error = body.get("error")
        if not isinstance(error, dict) or error.get("param") != "model":
            return response
        message = f"The model {shown(asked)} does not exist. Valid names: {', '.join(self.base())}"
        message += f"; with EAH on: {', '.join(name for name in self.aliases() if self._is_base(name))}."
        meant = self._meant(asked)
        error["message"] = message + (f" Did you mean {' or '.join(meant)}?" if meant else "")
        return with_body(response, body)

    def _is_base(self, alias: str) -> bool:
        return alias.removesuffix(ALIAS_SUFFIX) in self.base()

    def _meant(self, asked: str) -> list[str]:
        """Return the names that differ from `asked` only in case or in the suffix."""
        name = asked.casefold()
        stem = name.rpartition(":")[0]
        alike = {name, stem, stem + ALIAS_SUFFIX}
        return [known for known in self.exact() + self.aliases() if known.casefold() in alike]
