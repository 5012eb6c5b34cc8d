"""Names of models: the names that are served, and for each of them aliases that switch something on."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from fastapi.responses import JSONResponse, Response
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.engine.protocol import ModelCard

from eah_vllm.options import shown
from eah_vllm_server.reply import with_body

CHECK = "verify"
SEPARATOR, JOINT = ":", "+"
Modes = tuple[str, ...]
"""What one alias switches on, by its words in the alias: methods, and a check."""


def modes_of_aliases(methods: Sequence[str], fit: Callable[[Modes], bool]) -> tuple[Modes, ...]:
    """Return all modes that an alias can switch on, smaller sets first.

    Args:
        methods: the methods that requests may ask for; each has an alias of its own.
        fit: whether a request can have several of them, with the server's defaults.
    """
    sets = [some for size in range(len(methods) + 1) for some in combinations(methods, size) if size < 2 or fit(some)]
    words = [*methods, CHECK]
    found = [*(some for some in sets if some), *((*some, CHECK) for some in sets)]
    return tuple(sorted(found, key=lambda modes: (len(modes), [words.index(word) for word in modes])))


def _spelled(mode: str) -> str:
    """Return how a message calls what a word of an alias switches on."""
    return mode if mode == CHECK else mode.upper()


def alias(name: str, modes: Iterable[str]) -> str:
    """Return the alias of a name that switches these modes on."""
    return name + SEPARATOR + JOINT.join(modes)


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The names that a request's `model` may be; adapters come and go while the server runs, so none is cached here."""

    serving: OpenAIServingModels
    modes: tuple[Modes, ...]
    """What aliases switch on; smaller sets first."""

    def base(self) -> list[str]:
        """Names of the model itself; replies carry the first one."""
        return [path.name for path in self.serving.base_model_paths]

    def exact(self) -> list[str]:
        """Every name that vLLM serves: the model's, and the LoRA adapters'."""
        return [*self.base(), *self.serving.lora_requests]

    def aliases(self) -> list[str]:
        """The aliases of each name, except an alias that is itself a served name."""
        return [name for modes in self.modes for name, _ in self._aliases(modes)]

    def _aliases(self, modes: Modes) -> list[tuple[str, str]]:
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
        known = any(sorted(words) == sorted(modes) for modes in self.modes)
        return (name, frozenset(words)) if name and known else (asked, frozenset())

    def cards(self, listed: list[ModelCard]) -> list[ModelCard]:
        """Return the cards of `/v1/models`: those that vLLM lists, and one for each alias."""
        cards = {card.id: card for card in listed}
        aliases = [(name, of) for modes in self.modes for name, of in self._aliases(modes) if of in cards]
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
        for modes in self.modes:
            aliases = [name for name, of in self._aliases(modes) if of in self.base()]
            message += f"; with {' and '.join(map(_spelled, modes))} on: {', '.join(aliases)}"
        meant = self._meant(asked)
        error["message"] = message + "." + (f" Did you mean {' or '.join(meant)}?" if meant else "")
        return with_body(response, body)

    def _meant(self, asked: str) -> list[str]:
        """Return the names that differ from `asked` only in case or in the suffix."""
        name = asked.casefold()
        stem, _, suffix = name.rpartition(SEPARATOR)
        # Somebody who wrote an unknown suffix may have meant any known one of them.
        known = [modes[0] for modes in self.modes if len(modes) == 1]
        words = [mode for mode in known if mode in suffix.split(JOINT)] or known[:1]
        alike = {name, stem, alias(stem, words)}
        return [served for served in self.exact() + self.aliases() if served.casefold() in alike]
