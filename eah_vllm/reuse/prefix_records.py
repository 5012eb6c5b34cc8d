"""Decides, in the scheduler, which EAH prompts may share cached blocks under `prefix_reuse`."""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Sequence

MAX_RECORDS = 4096
"""Image prefixes that are remembered; beyond that, the one that was not asked for longest is forgotten."""


def prefix_key(fingerprint: str, cache_salt: str, lora: str, tokens: Sequence[int], images: Sequence[str]) -> str:
    """Return the identity of a prompt up to its last image's end; equal keys may use one choice of source heads."""
    return hashlib.sha256(repr((fingerprint, cache_salt, lora, list(tokens), list(images))).encode()).hexdigest()


class PrefixRecords:
    """Gives each image prefix a record with a random name, so that stores shared between engines never confuse two.

    All KV blocks hashed under a record are computed with the heads recorded for it. Choosing anew needs a new record.
    """

    def __init__(self, max_records: int = MAX_RECORDS) -> None:
        self._records: OrderedDict[str, str] = OrderedDict()
        self._max_records = max_records

    def record_of(self, key: str) -> str:
        """Return the name of a prefix's record; a new one where there was none, or where it was forgotten."""
        record = self._records.setdefault(key, secrets.token_hex(16))
        self._records.move_to_end(key)
        while len(self._records) > self._max_records:
            self._records.popitem(last=False)
        return record

    def clear(self) -> None:
        """Forget all records: the KV cache was reset, perhaps because the weights changed."""
        self._records.clear()
