"""What a check found: the field `verify` of a reply, as plain data."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from eah_vllm_server.verify.mentions import Mention

Verdict = Literal["confirmed", "denied", "unasked"]
NO_IMAGE = "no_image"
NO_TEXT = "no_text"


@dataclass(frozen=True, slots=True)
class Checked:
    """A mention and what the model said when it was asked about the object."""

    text: str
    start: int
    end: int
    object: str
    p_yes: float | None
    """P(yes) of the question, None where it was not asked."""
    verdict: Verdict


@dataclass(slots=True)
class VerifyReport:
    """What was checked in one answer, and what was done to it."""

    action: str
    checked: bool = False
    """Whether the answer was checked; where not, `reason` or `error` says why."""
    reason: str | None = None
    """"no_image": the conversation has no picture; "no_text": the answer has no text."""
    error: str | None = None
    """Why the check failed; the answer is then as the model gave it."""
    mentions: list[Checked] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    """Objects that the model denied, in the order of the answer."""
    asked: int = 0
    """Objects that were asked about."""
    unasked: list[str] = field(default_factory=list)
    """Objects that were named and not asked about, because of `max_mentions` or because their name cannot be asked."""
    tokens: int = 0
    """Tokens of all calls that the check made: their prompts and what they generated."""
    cached_tokens: int = 0
    """Those of `tokens` that were read from the prefix cache."""
    changed: bool = False
    original: str | None = None
    """The answer before it was changed."""
    chosen: int = 0
    """Which of the answers that `best_of` sampled this is about, 0-based."""
    denied_mass: list[float] | None = None
    """How much of each of those answers is denied: the sum of 1 - P(yes) over its denied mentions."""
    usage: list[Any] | None = None
    """What vLLM says that each of those answers cost; the reply's own usage is that of the chosen one."""
    result: str | None = None
    """The changed answer, which stands in the reply's text."""

    @property
    def outcome(self) -> str:
        """What `/metrics` counts the request as."""
        if self.error is not None:
            return "failed"
        return self.reason or ("changed" if self.changed else "checked")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        data = asdict(self)
        of_many = {name: data.pop(name) for name in ("chosen", "denied_mass", "usage")}
        del data["result"]
        return data if self.denied_mass is None else data | {"best_of": of_many}


def judge(mentions: Sequence[Mention], beliefs: dict[str, float], threshold: float) -> list[Checked]:
    """Return each mention with its verdict; `beliefs` has P(yes) of the objects that were asked about."""
    return [_judge(mention, beliefs.get(mention.object), threshold) for mention in mentions]


def _judge(mention: Mention, p_yes: float | None, threshold: float) -> Checked:
    verdict: Verdict = "unasked" if p_yes is None else "denied" if p_yes < threshold else "confirmed"
    return Checked(mention.text, mention.start, mention.end, mention.object, p_yes, verdict)
