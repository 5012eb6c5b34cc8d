"""What a worker remembers about a request between steps."""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from eah_vllm import report
from eah_vllm.method.spans import ImageSpan
from eah_vllm.report import EAHReport, LayerReport
from eah_vllm.settings import EAHSettings

MAX_UNCOLLECTED = 4096
"""Most reports that are kept until they are collected; beyond that, the oldest is dropped."""


@dataclass(slots=True)
class LayerOutcome:
    """What one layer did: int64 `[chosen head, its sinks, most sinks of any head, broadcast or not]`."""

    layer: int
    image_tokens: int
    numbers: Tensor
    """Host memory with the four numbers; the copy from the device may still be under way."""
    copied: torch.Event | None = None
    """Event that has passed once `numbers` may be read; None when there is nothing to wait for."""
    reused: bool = False
    """Whether the head was recorded by an earlier request with the same image prefix."""

    @property
    def is_known(self) -> bool:
        """Whether `read` can return without waiting for the device."""
        return self.copied is None or self.copied.query()

    def read(self) -> list[int]:
        """Return `numbers` as a list; wait for the device if necessary."""
        if self.copied is not None:
            self.copied.synchronize()
        read: list[int] = self.numbers.tolist()
        return read


@dataclass(slots=True)
class RequestState:
    """What a worker remembers about one EAH request."""

    req_id: str
    settings: EAHSettings
    prompt_length: int
    spans: tuple[ImageSpan, ...]
    pictures: tuple[str, ...] = ()
    """Identities of the prompt's pictures, in prompt order; `head: "random"` draws by them."""
    record: str | None = None
    """Name of the cached prefix whose recorded heads it uses, or records; None without `prefix_reuse`."""
    reason: str | None = None
    """The reason why no layer can be changed, once that is known."""
    outcomes: dict[int, LayerOutcome] = field(default_factory=dict)
    counted_elsewhere: bool = False
    """Whether another pipeline stage, which has the request's first layer, counts it; here only heads are counted."""
    counted: bool = False
    """Whether the counters hold the request or soon will; also true if it was counted before a preemption."""

    @property
    def image_tokens(self) -> int:
        """Number of image tokens in the prompt."""
        return sum(len(span) for span in self.spans)

    @property
    def is_known(self) -> bool:
        """Whether `report` can return without waiting for the device."""
        return all(outcome.is_known for outcome in self.outcomes.values())

    def decline(self, reason: str) -> None:
        """Change this request no more; what it computed before a preemption is computed anew, without EAH."""
        self.reason = reason
        self.outcomes.clear()

    def report(self) -> EAHReport:
        """Report what was done so far; wait for the device if necessary."""
        if not self.outcomes:
            return EAHReport(False, self.reason or report.NOT_RUN)
        read = [self._read(self.outcomes[layer]) for layer in sorted(self.outcomes)]
        failed = [reason for _, reason in read if reason is not None]
        return EAHReport(len(failed) < len(read), failed[0] if failed else None, tuple(layer for layer, _ in read))

    def _read(self, outcome: LayerOutcome) -> tuple[LayerReport, str | None]:
        head, sinks, most_sinks, broadcast = outcome.read()
        reason = None
        if not broadcast:
            reason = report.NO_SINK if most_sinks == 0 else report.BELOW_MIN_DENSITY
            if self.settings.preset == "released_code" and most_sinks > 0 and head == 0:
                reason = report.HEAD_ZERO
        density = sinks / outcome.image_tokens if outcome.image_tokens else 0.0
        layer = LayerReport(
            outcome.layer, head if broadcast else None, sinks, outcome.image_tokens, density, outcome.reused
        )
        return layer, reason


class RequestTable:
    """The EAH requests that a worker knows, the reports to collect, and counts of what was done."""

    def __init__(self) -> None:
        self._running: dict[str, RequestState] = {}
        self.unfinished_prompts: dict[str, RequestState] = {}
        """Requests whose prompts are not yet fully computed, by request ID; empty in steps that only generate."""
        self._ended: list[RequestState] = []
        """Requests that ended before their numbers arrived from the device; they are counted once these arrive."""
        self._uncollected: OrderedDict[str, RequestState] = OrderedDict()
        self._outcomes: Counter[str] = Counter()
        self._source_heads: Counter[tuple[int, int]] = Counter()

    def __len__(self) -> int:
        return len(self._running) + len(self._ended)

    def add(self, state: RequestState) -> None:
        """Start to follow a request; one that was preempted is added again."""
        self._running[state.req_id] = self.unfinished_prompts[state.req_id] = state
        before = self._uncollected.get(state.settings.tag or "")
        if before is not None and before.req_id == state.req_id and state.reason is None:
            # It was preempted: its prompt may now come from the cache, and no layer will report on it again.
            state.outcomes.update(before.outcomes)
            state.counted = before.counted
        if state.settings.report and state.settings.tag is not None:
            self._uncollected[state.settings.tag] = state
            while len(self._uncollected) > MAX_UNCOLLECTED:
                self._uncollected.popitem(last=False)

    def resume(self, req_id: str) -> None:
        """Expect the prompt of a request again: it was preempted, but not removed."""
        if req_id in self._running:
            self.unfinished_prompts[req_id] = self._running[req_id]

    def remove(self, req_id: str) -> None:
        """Forget a request that finished, was aborted or was preempted, and count what was done to it."""
        self.unfinished_prompts.pop(req_id, None)
        state = self._running.pop(req_id, None)
        if state is not None and not state.counted:
            state.counted = True
            self._ended.append(state)
            self._count_ended()

    def forget(self, tags: Iterable[str]) -> None:
        """Drop reports that nobody will fetch."""
        for tag in tags:
            self._uncollected.pop(tag, None)

    def collect(self, tags: Iterable[str]) -> dict[str, EAHReport]:
        """Hand out reports and forget them; wait for the device if one is not ready. Unknown tags are left out."""
        return {tag: state.report() for tag in tags if (state := self._uncollected.pop(tag, None)) is not None}

    def take_counts(self) -> tuple[dict[str, int], dict[tuple[int, int], int]]:
        """Return requests by outcome and broadcasts by (layer, source head), for prompts computed since the last call.

        This does not wait: a request whose numbers have not arrived from the device is left for a later call.
        """
        for state in self._running.values():
            if not state.counted and (state.outcomes or state.reason is not None) and state.is_known:
                state.counted = True
                self._count(state)
        self._count_ended()
        counts = dict(self._outcomes), dict(self._source_heads)
        self._outcomes.clear()
        self._source_heads.clear()
        return counts

    def _count_ended(self) -> None:
        ended, self._ended = self._ended, []
        for state in ended:
            if state.is_known:
                self._count(state)
            else:
                self._ended.append(state)

    def _count(self, state: RequestState) -> None:
        done = state.report()
        if not state.counted_elsewhere:
            self._outcomes["applied" if done.applied else done.reason or report.NOT_RUN] += 1
        self._source_heads.update((layer.layer, layer.head) for layer in done.layers if layer.head is not None)
