"""Source heads remembered with a cached prompt prefix (`prefix_reuse`), in a worker."""

from collections import OrderedDict

from torch import Tensor

MAX_RECORDS = 65536
"""Far more than the scheduler hands out again (`prefix_records.MAX_RECORDS`): a queued request must find its own."""


class RecordedHeads:
    """What each layer chose when a prompt prefix was first read.

    A record names KV blocks that were all computed with one choice of heads; whoever computes more of them must use it.
    """

    def __init__(self, max_records: int = MAX_RECORDS) -> None:
        self._records: OrderedDict[str, dict[int, Tensor]] = OrderedDict()
        self._max_records = max_records

    def get(self, record: str | None, layer: int) -> Tensor | None:
        """A row of `eah.choose_heads`, None when nothing was recorded."""
        if record is None or record not in self._records:
            return None
        self._records.move_to_end(record)
        return self._records[record].get(layer)

    def put(self, record: str | None, layer: int, choice: Tensor) -> None:
        """Remember a choice; the record that was not used for longest makes room."""
        if record is None:
            return
        self._records.setdefault(record, {})[layer] = choice
        while len(self._records) > self._max_records:
            self._records.popitem(last=False)
