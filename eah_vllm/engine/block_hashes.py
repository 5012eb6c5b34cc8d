"""Keeps the end of a request's KV cache apart from all others: the one place that replaces something inside of vLLM.

vLLM makes a block's hash of its tokens, its pictures, the adapter, and of the hash of the block before; a salt is part
of the first block alone. So no official way lets requests share the first blocks of a prompt, and none after them. What
is replaced is a request's own function for its hashes; vLLM gives it to each request when it makes it
(https://github.com/vllm-project/vllm/blob/v0.32.0/vllm/v1/request.py). `contract/names.py` compares it with vLLM's.
"""

import hashlib
import secrets
from collections.abc import Callable

from vllm.v1.core.kv_cache_utils import BlockHash
from vllm.v1.request import Request

Hasher = Callable[[Request], list[BlockHash]]


def block_hasher_of(request: Request) -> Hasher | None:
    """Return the function that makes a request's hashes, None without a prefix cache."""
    hasher: Hasher | None = request._block_hasher
    return hasher


def keep_apart_from(request: Request, first: int) -> None:
    """Let nobody else find the blocks of a request from the block `first` on, once its hashes are made anew."""
    theirs = block_hasher_of(request)
    if theirs is None:
        return
    secret = secrets.token_bytes(32)

    def hasher(request: Request) -> list[BlockHash]:
        start = len(request.block_hashes)
        found = enumerate(theirs(request), start)
        return [own if idx < first else BlockHash(hashlib.sha256(secret + own).digest()) for idx, own in found]

    request._block_hasher = hasher
