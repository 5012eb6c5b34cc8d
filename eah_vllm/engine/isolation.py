"""Decides on which requests a method acts, and keeps the KV cache of those that it changes apart from all others."""

import copy
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vllm.multimodal.inputs import MultiModalFeatureSpec
from vllm.v1.request import Request

from eah_vllm.engine.block_hashes import keep_apart_from
from eah_vllm.method.registry import METHODS, asked_for, resolve_all
from eah_vllm.options import MethodOptions
from eah_vllm.order import ORDER_FIELD, Order, orders_of
from eah_vllm.report import PROMPT_SPLIT
from eah_vllm.reuse.prefix_records import PrefixRecords, prefix_key
from eah_vllm.settings import ModelShape


def give_orders(
    request: Request, defaults: Mapping[str, MethodOptions], shape: ModelShape, modalities: tuple[str, ...]
) -> list[Order]:
    """Read and resolve what a request asks for, write it for the workers, and return it; nothing for a plain request.

    Values that a caller has put there are removed.
    """
    params = request.sampling_params
    asked = asked_for(params.extra_args) if params is not None else ()
    settings = resolve_all(asked, defaults, shape)
    orders = [Order(one.method.name, settings[one.method.name], one.tag, modalities=modalities) for one in asked]
    if orders or (params is not None and orders_of(params.extra_args)):
        write_orders(request, orders)
    return orders


def written_orders(request: Request) -> tuple[Order, ...]:
    """Return the orders that were written for a request."""
    params = request.sampling_params
    return orders_of(params.extra_args) if params is not None else ()


def will_act_on(request: Request) -> list[Order]:
    """Return the orders whose methods will change or read a request: it has an image, and no reason against it.

    Without an image it is a plain request, and its report says so.
    """
    return [order for order in written_orders(request) if order.reason is None and _images(request, order)]


def must_be_whole(request: Request) -> bool:
    """Whether a step must compute all of a request's prompt, because a method needs every row of it."""
    return any(METHODS[order.method].needs_whole_prompt for order in will_act_on(request))


def acts_on_rows(request: Request) -> bool:
    """Whether a method will act on a request's generated rows."""
    return any(METHODS[order.method].acts_on_rows for order in will_act_on(request))


def isolate(request: Request, records: PrefixRecords | None, hash_block_size: int) -> None:
    """Give a request block hashes of its own, and keep it from reading cached prefixes that it must not read.

    KV of the layers after a method's layer depends on the settings, so blocks may be shared only between requests of
    equal settings. A method that needs every row of the prompt reads nothing at all, unless `records` names the blocks
    that were written with one choice of heads. Plain requests keep vLLM's hashes and share with all other plain
    traffic. So does a method that only reads: it writes what a plain request writes.

    A method that acts on generated rows leaves the prompt's rows before the last as they are, so requests of equal
    settings read them from each other. What it writes from there on, nobody else reads: in a prompt that holds the
    answer, these rows would be others.
    """
    orders = will_act_on(request)
    changing = [order for order in orders if METHODS[order.method].changes_kv]
    record = None
    if len(orders) == 1 and records is not None and orders[0].method == "eah":
        record = records.record_of(_prefix_key(request, orders[0], orders[0].settings.fingerprint()))
        write_orders(request, [replace(orders[0], record=record)])
    elif must_be_whole(request):
        _read_no_cache(request)
    if not changing:
        return
    if acts_on_rows(request):
        # Of the rows that may be read two are left to compute, the last one and one before it.
        shared = max(0, request.num_prompt_tokens - 2) // hash_block_size
        keep_apart_from(request, shared)
    fingerprints = "\n".join(order.settings.fingerprint() for order in changing)
    salt = f"{fingerprints}\n{request.cache_salt or ''}\n{record or ''}"
    _hash_anew(request, hashlib.sha256(salt.encode()).hexdigest())


def answer_plainly(request: Request, reason: str, *, whole_only: bool = False) -> None:
    """Answer a request without its methods, or without those that need whole prompts; its reports will say why."""
    acting = will_act_on(request)
    write_orders(
        request,
        [
            replace(order, reason=reason)
            if order in acting and (METHODS[order.method].needs_whole_prompt or not whole_only)
            else order
            for order in written_orders(request)
        ],
    )


def make_plain(request: Request) -> None:
    """Answer a request without the methods that need its prompt whole; nobody else reads the blocks it writes now."""
    _hash_anew(request, secrets.token_hex(32))
    answer_plainly(request, PROMPT_SPLIT, whole_only=True)


def write_orders(request: Request, orders: Sequence[Order]) -> None:
    """Write a request's orders where the workers read them."""
    assert request.sampling_params is not None
    params = copy.copy(request.sampling_params)  # a caller in the same process may use its object again
    callers = {name: value for name, value in (params.extra_args or {}).items() if name != ORDER_FIELD}
    params.extra_args = callers | {ORDER_FIELD: tuple(orders)} if orders else callers
    request.sampling_params = params


def _read_no_cache(request: Request) -> None:
    assert request.sampling_params is not None
    request.skip_reading_prefix_cache = True
    request.sampling_params.skip_reading_prefix_cache = True  # KV connectors read this field


def _hash_anew(request: Request, salt: str) -> None:
    request.cache_salt = salt
    request.block_hashes.clear()
    request.update_block_hashes()


def _images(request: Request, order: Order) -> list[MultiModalFeatureSpec]:
    return [feature for feature in request.mm_features if feature.modality in order.modalities]


def _prefix_key(request: Request, order: Order, fingerprint: str) -> str:
    end = max(f.mm_position.offset + f.mm_position.length for f in _images(request, order))
    # vLLM's block hashes hold both too: an adapter of the same name may be another one.
    lora = f"{request.lora_request.lora_name}\n{request.lora_request.lora_path}" if request.lora_request else ""
    contents = [feature.identifier for feature in request.mm_features]
    return prefix_key(fingerprint, request.cache_salt or "", lora, (request.prompt_token_ids or [])[:end], contents)
