"""Decides which requests EAH changes, and keeps their KV cache apart from that of all others."""

import copy
import hashlib
import secrets
from typing import Any

from vllm import SamplingParams
from vllm.v1.request import Request

from eah_vllm.options import PRIVATE_FIELDS, REASON_FIELD, RECORD_FIELD, EAHOptions, from_extra_args
from eah_vllm.report import PROMPT_SPLIT
from eah_vllm.reuse.prefix_records import PrefixRecords, prefix_key
from eah_vllm.settings import ModelShape, resolve


def asks_for_eah(request: Request) -> bool:
    """Whether a request asks for EAH and has an image; without one it is a plain request, and reports `no_image`."""
    params = request.sampling_params
    return params is not None and from_extra_args(params.extra_args) is not None and _has_image(request)


def is_changed(request: Request) -> bool:
    """Whether `isolate` has prepared a request for EAH."""
    params = request.sampling_params
    return params is not None and params.extra_args is not None and RECORD_FIELD in params.extra_args


def forget_private_fields(request: Request) -> None:
    """Remove values that a caller has put into fields that only our scheduler may write."""
    params = request.sampling_params
    if params is not None and params.extra_args and any(name in params.extra_args for name in PRIVATE_FIELDS):
        _write_private_fields(request, {})


def isolate(request: Request, defaults: EAHOptions, shape: ModelShape, records: PrefixRecords | None) -> None:
    """Give an EAH request block hashes of its own, and keep it from reading cached prefixes that others wrote.

    KV of the layers after an EAH layer depends on the settings, so blocks may be shared only between requests of equal
    settings. Choosing the head needs every row of the prompt, so nothing is read at all unless `records` names the
    blocks that were written with one choice of heads. Requests without EAH keep vLLM's hashes and share with all other
    plain traffic.
    """
    assert request.sampling_params is not None
    asked = from_extra_args(request.sampling_params.extra_args)
    assert asked is not None
    settings = resolve(asked[0], defaults, shape)
    record = None
    if records is not None:
        record = records.record_of(_prefix_key(request, settings.fingerprint()))
    else:
        request.skip_reading_prefix_cache = True
    salt = f"{settings.fingerprint()}\n{request.cache_salt or ''}\n{record or ''}"
    _hash_anew(request, hashlib.sha256(salt.encode()).hexdigest())
    params = _write_private_fields(request, {RECORD_FIELD: record})
    params.skip_reading_prefix_cache = request.skip_reading_prefix_cache  # KV connectors read this field


def answer_plainly(request: Request) -> None:
    """Answer a request without EAH because no step can hold its whole prompt; the workers say so in its report."""
    _write_private_fields(request, {REASON_FIELD: PROMPT_SPLIT})


def make_plain(request: Request) -> None:
    """Answer a request without EAH that was isolated before; no other request shares the blocks that it writes now."""
    _hash_anew(request, secrets.token_hex(32))
    answer_plainly(request)


def _hash_anew(request: Request, salt: str) -> None:
    request.cache_salt = salt
    request.block_hashes.clear()
    request.update_block_hashes()


def _write_private_fields(request: Request, fields: dict[str, Any]) -> SamplingParams:
    assert request.sampling_params is not None
    params = copy.copy(request.sampling_params)  # a caller in the same process may use its object again
    callers = {name: value for name, value in (params.extra_args or {}).items() if name not in PRIVATE_FIELDS}
    params.extra_args = callers | fields
    request.sampling_params = params
    return params


def _has_image(request: Request) -> bool:
    return any(feature.modality == "image" for feature in request.mm_features)


def _prefix_key(request: Request, fingerprint: str) -> str:
    end = max(f.mm_position.offset + f.mm_position.length for f in request.mm_features if f.modality == "image")
    # vLLM's block hashes hold both too: an adapter of the same name may be another one.
    lora = f"{request.lora_request.lora_name}\n{request.lora_request.lora_path}" if request.lora_request else ""
    contents = [feature.identifier for feature in request.mm_features]
    return prefix_key(fingerprint, request.cache_salt or "", lora, (request.prompt_token_ids or [])[:end], contents)
