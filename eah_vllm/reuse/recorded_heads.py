"""Source heads that a worker remembers with a cached prompt prefix (`prefix_reuse`)."""

from collections import OrderedDict

from torch import Tensor

MAX_RECORDS = 65536
"""Far more than the scheduler remembers (`prefix_records.MAX_RECORDS`), so that queued requests find their records."""


class RecordedHeads:
    """The source heads that each layer chose when a prompt prefix was first computed.

    A record names KV blocks that were all computed with one choice of heads; who adds blocks must use that choice too.
    """

    def __init__(self, max_records: int = MAX_RECORDS) -> None:
        self._records: OrderedDict[str, dict[int, Tensor]] = OrderedDict()
        self._max_records = max_records

    def get(self, record: str | None, layer: int) -> Tensor | None:
        """Return the choice that was recorded, None when there is none."""
        if record is None or record not in self._records:
            return None
        self._records.move_to_end(record)
        return self._records[record].get(layer)

    def put(self, record: str | None, layer: int, choice: Tensor) -> None:
        """Remember a choice; when there are too many, the record that was not used for longest is dropped."""
        if record is None:
            return
        self._records.setdefault(record, {})[layer] = choice
        while len(self._records) > self._max_records:
            self._records.popitem(last=False)
