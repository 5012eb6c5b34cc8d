"""Decides on which requests a method acts, and keeps the KV cache of those that it changes apart from all others."""

import copy
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import replace

from vllm import SamplingParams
from vllm.multimodal.inputs import MultiModalFeatureSpec
from vllm.v1.request import Request

from eah_vllm.method.registry import METHODS, asked_for
from eah_vllm.options import MethodOptions
from eah_vllm.order import ORDER_FIELD, Order, order_of
from eah_vllm.report import PROMPT_SPLIT
from eah_vllm.reuse.prefix_records import PrefixRecords, prefix_key
from eah_vllm.settings import ModelShape


def give_order(
    request: Request, defaults: Mapping[str, MethodOptions], shape: ModelShape, modalities: tuple[str, ...]
) -> Order | None:
    """Read and resolve what a request asks for, write it where the workers read it, and return it; None: it is plain.

    Values that a caller has put there are removed.
    """
    params = request.sampling_params
    asked = next(iter(asked_for(params.extra_args)), None) if params is not None else None
    if asked is None:
        if order_of(params.extra_args if params is not None else None) is not None:
            _write(request, None)
        return None
    settings = asked.method.resolve(asked.options, defaults[asked.method.name], shape)
    order = Order(asked.method.name, settings, asked.tag, modalities=modalities)
    _write(request, order)
    return order


def is_acted_on(request: Request) -> bool:
    """Whether a method will change or read a request: it has an order, an image, and no reason against it.

    Without an image it is a plain request, and its report says so.
    """
    params = request.sampling_params
    order = order_of(params.extra_args) if params is not None else None
    return order is not None and order.reason is None and bool(_images(request, order))


def isolate(request: Request, order: Order, records: PrefixRecords | None) -> None:
    """Give a request block hashes of its own, and keep it from reading cached prefixes that others wrote.

    KV of the layers after a method's layer depends on the settings, so blocks may be shared only between requests of
    equal settings. A method needs every row of the prompt, so nothing is read at all unless `records` names the
    blocks that were written with one choice of heads. Plain requests keep vLLM's hashes and share with all other plain
    traffic. So does a method that only reads: it writes what a plain request writes.
    """
    if not METHODS[order.method].changes_kv:
        request.skip_reading_prefix_cache = True
        _write(request, order).skip_reading_prefix_cache = True
        return
    fingerprint, record = order.settings.fingerprint(), None
    if records is not None and order.method == "eah":
        record = records.record_of(_prefix_key(request, order, fingerprint))
    else:
        request.skip_reading_prefix_cache = True
    salt = f"{fingerprint}\n{request.cache_salt or ''}\n{record or ''}"
    _hash_anew(request, hashlib.sha256(salt.encode()).hexdigest())
    params = _write(request, replace(order, record=record))
    params.skip_reading_prefix_cache = request.skip_reading_prefix_cache  # KV connectors read this field


def answer_plainly(request: Request, order: Order) -> None:
    """Answer a request without its method because no step can hold its whole prompt; its report will say so."""
    _write(request, replace(order, reason=PROMPT_SPLIT))


def make_plain(request: Request) -> None:
    """Answer a request plainly that was to be whole; no other request shares the blocks that it writes now."""
    assert request.sampling_params is not None
    order = order_of(request.sampling_params.extra_args)
    assert order is not None
    _hash_anew(request, secrets.token_hex(32))
    answer_plainly(request, order)


def _hash_anew(request: Request, salt: str) -> None:
    request.cache_salt = salt
    request.block_hashes.clear()
    request.update_block_hashes()


def _write(request: Request, order: Order | None) -> SamplingParams:
    assert request.sampling_params is not None
    params = copy.copy(request.sampling_params)  # a caller in the same process may use its object again
    callers = {name: value for name, value in (params.extra_args or {}).items() if name != ORDER_FIELD}
    params.extra_args = callers if order is None else callers | {ORDER_FIELD: order}
    request.sampling_params = params
    return params


def _images(request: Request, order: Order) -> list[MultiModalFeatureSpec]:
    return [feature for feature in request.mm_features if feature.modality in order.modalities]


def _prefix_key(request: Request, order: Order, fingerprint: str) -> str:
    end = max(f.mm_position.offset + f.mm_position.length for f in _images(request, order))
    # vLLM's block hashes hold both too: an adapter of the same name may be another one.
    lora = f"{request.lora_request.lora_name}\n{request.lora_request.lora_path}" if request.lora_request else ""
    contents = [feature.identifier for feature in request.mm_features]
    return prefix_key(fingerprint, request.cache_salt or "", lora, (request.prompt_token_ids or [])[:end], contents)
