"""Which EAH prompts may share cached blocks under `prefix_reuse`, in the scheduler."""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Sequence

MAX_RECORDS = 4096
"""Image prefixes remembered; beyond that, the one not asked for longest is read anew."""


def prefix_key(fingerprint: str, cache_salt: str, lora: str, tokens: Sequence[int], images: Sequence[str]) -> str:
    """Identity of a prompt up to the end of its last image: equal keys may use one choice of source heads."""
    return hashlib.sha256(repr((fingerprint, cache_salt, lora, list(tokens), list(images))).encode()).hexdigest()


class PrefixRecords:
    """Names a record for each image prefix: random, so that stores shared between engines never confuse two.

    All KV blocks hashed under a record are computed with the heads recorded for it. Choosing anew needs a new record.
    """

    def __init__(self, max_records: int = MAX_RECORDS) -> None:
        self._records: OrderedDict[str, str] = OrderedDict()
        self._max_records = max_records

    def record_of(self, key: str) -> str:
        """The record of a prefix; a new one where there was none, or it was forgotten."""
        record = self._records.setdefault(key, secrets.token_hex(16))
        self._records.move_to_end(key)
        while len(self._records) > self._max_records:
            self._records.popitem(last=False)
        return record

    def clear(self) -> None:
        """Forget all: the KV cache was reset, perhaps because the weights changed."""
        self._records.clear()
