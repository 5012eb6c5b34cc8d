"""The requests that a worker knows, the reports to collect, and counts of what was done."""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable

from eah_vllm import report
from eah_vllm.report import Report
from eah_vllm.worker.request_state import RequestState

MAX_UNCOLLECTED = 4096
"""Most reports that are kept until they are collected; beyond that, the oldest is dropped."""


class RequestTable:
    """The requests with a method that a worker knows, the reports to collect, and counts of what was done."""

    def __init__(self) -> None:
        self._running: dict[str, list[RequestState]] = {}
        self.unfinished_prompts: dict[str, list[RequestState]] = {}
        """Requests whose prompts are not yet fully computed, by request ID; empty in steps that only generate."""
        self.with_rows: dict[str, list[RequestState]] = {}
        """Requests whose last prompt row and generated rows a method acts on, by request ID."""
        self.image_free: dict[int, str] = {}
        """For each slot, the image-free pass that filled it, by request ID."""
        self._ended: list[RequestState] = []
        """Requests that ended before their numbers arrived from the device; they are counted once these arrive."""
        self._uncollected: OrderedDict[str, RequestState] = OrderedDict()
        self._outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._source_heads: Counter[tuple[str, int, int]] = Counter()

    def __len__(self) -> int:
        return sum(len(states) for states in self._running.values()) + len(self._ended)

    def add(self, *states: RequestState) -> None:
        """Start to follow a request, with a state for each of its methods; one that was preempted is added again."""
        req_id = states[0].req_id
        self._running[req_id] = self.unfinished_prompts[req_id] = list(states)
        with_rows = [state for state in states if state.slot is not None and not state.order.is_image_free]
        if with_rows:
            self.with_rows[req_id] = with_rows
        for state in states:
            self._expect_report(state)

    def _expect_report(self, state: RequestState) -> None:
        before = self._uncollected.get(state.order.tag or "")
        if before is not None and before.req_id == state.req_id and state.reason is None:
            # It was preempted: its prompt may now come from the cache, and no layer will report on it again.
            state.outcomes.update(before.outcomes)
            state.counted = before.counted
        if state.order.tag is not None:
            self._uncollected[state.order.tag] = state
            while len(self._uncollected) > MAX_UNCOLLECTED:
                self._uncollected.popitem(last=False)

    def resume(self, req_id: str) -> None:
        """Expect the prompt of a request again: it was preempted, but not removed."""
        if req_id in self._running:
            self.unfinished_prompts[req_id] = self._running[req_id]

    def remove(self, req_id: str) -> None:
        """Forget a request that finished, was aborted or was preempted, and count what was done to it."""
        if req_id not in self._running:
            return
        self.unfinished_prompts.pop(req_id, None)
        self.with_rows.pop(req_id, None)
        for state in self._running.pop(req_id, ()):
            if not state.counted:
                state.counted = True
                self._ended.append(state)
        self._count_ended()

    def forget(self, tags: Iterable[str]) -> None:
        """Drop reports that nobody will fetch."""
        for tag in tags:
            self._uncollected.pop(tag, None)

    def collect(self, tags: Iterable[str]) -> dict[str, Report]:
        """Hand out reports and forget them; wait for the device if one is not ready. Unknown tags are left out."""
        return {tag: state.report() for tag in tags if (state := self._uncollected.pop(tag, None)) is not None}

    def take_counts(self) -> tuple[dict[str, dict[str, int]], dict[tuple[str, int, int], int]]:
        """Return requests by method and outcome, and layers by (method, layer, source head), since the last call.

        This does not wait: a request whose numbers have not arrived from the device is left for a later call.
        """
        for state in (state for states in self._running.values() for state in states):
            if not state.counted and (state.outcomes or state.reason is not None) and state.is_known:
                state.counted = True
                self._count(state)
        self._count_ended()
        counts = {name: dict(outcomes) for name, outcomes in self._outcomes.items()}, dict(self._source_heads)
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
        done, name = state.report(), state.order.method
        if not state.counted_elsewhere:
            self._outcomes[name]["applied" if done.applied else done.reason or report.NOT_RUN] += 1
        heads = ((layer["layer"], layer.get("head")) for layer in done.layers)
        self._source_heads.update((name, layer, head) for layer, head in heads if head is not None)
