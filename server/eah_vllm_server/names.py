"""Names of models: the names that are served, and for each of them aliases that switch something on."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from fastapi.responses import JSONResponse, Response
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.engine.protocol import ModelCard

from eah_vllm.method.registry import with_field
from eah_vllm.options import shown
from eah_vllm_server.reply import with_body

CHECK = "verify"
MODES = {name: name.upper() for name in with_field()} | {CHECK: "verify"}
"""What an alias can switch on, by its word in the alias: how a message calls it."""
SEPARATOR, JOINT = ":", "+"


def suffixes() -> list[tuple[str, ...]]:
    """Return the sets of modes that an alias can switch on, smaller ones first, each in the order of `MODES`."""
    return [*((mode,) for mode in MODES), *((method, CHECK) for method in with_field())]


def alias(name: str, modes: Iterable[str]) -> str:
    """Return the alias of a name that switches these modes on."""
    return name + SEPARATOR + JOINT.join(modes)


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
        """The aliases of each name, except an alias that is itself a served name."""
        return [name for modes in suffixes() for name, _ in self._aliases(modes)]

    def _aliases(self, modes: tuple[str, ...]) -> list[tuple[str, str]]:
        """Return the aliases that switch these modes on, each with the name that it stands for."""
        exact = dict.fromkeys(self.exact())
        found = [(alias(name, modes), name) for name in exact]
        return [(name, of) for name, of in found if name not in exact]

    def resolve(self, asked: str | None) -> tuple[str | None, frozenset[str]]:
        """Return the name that vLLM knows, and the modes that `asked` switches on; a served name is never an alias."""
        if asked is None or asked in self.exact():
            return asked, frozenset()
        name, _, suffix = asked.rpartition(SEPARATOR)
        words = suffix.split(JOINT)
        known = any(sorted(words) == sorted(modes) for modes in suffixes())
        return (name, frozenset(words)) if name and known else (asked, frozenset())

    def cards(self, listed: list[ModelCard]) -> list[ModelCard]:
        """Return the cards of `/v1/models`: those that vLLM lists, and one for each alias."""
        cards = {card.id: card for card in listed}
        aliases = [(name, of) for modes in suffixes() for name, of in self._aliases(modes) if of in cards]
        return listed + [cards[of].model_copy(update={"id": name}) for name, of in aliases]

    def explain(self, response: Response, asked: str | None) -> Response:
        """Return the same response, but let a 404 for an unknown name say which names and aliases there are."""
        if response.status_code != 404 or asked is None or not isinstance(response, JSONResponse):
            return response
        body = json.loads(bytes(response.body))
        error = body.get("error")
        if not isinstance(error, dict) or error.get("param") != "model":
            return response
        message = f"The model {shown(asked)} does not exist. Valid names: {', '.join(self.base())}"
        for modes in suffixes():
            aliases = [name for name, of in self._aliases(modes) if of in self.base()]
            message += f"; with {' and '.join(MODES[mode] for mode in modes)} on: {', '.join(aliases)}"
        meant = self._meant(asked)
        error["message"] = message + "." + (f" Did you mean {' or '.join(meant)}?" if meant else "")
        return with_body(response, body)

    def _meant(self, asked: str) -> list[str]:
        """Return the names that differ from `asked` only in case or in the suffix."""
        name = asked.casefold()
        stem, _, suffix = name.rpartition(SEPARATOR)
        # Somebody who wrote an unknown suffix may have meant any known one of them.
        words = [mode for mode in MODES if mode in suffix.split(JOINT)] or list(MODES)[:1]
        alike = {name, stem, alias(stem, words)}
        return [known for known in self.exact() + self.aliases() if known.casefold() in alike]
