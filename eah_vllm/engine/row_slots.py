"""Gives requests of methods that act on generated rows a slot, and runs their image-free passes first.

A slot is a place in the buffers of every worker (`method/rows.py`). The scheduler gives it and takes it back, so that
all ranks and stages agree, and so that a request keeps it over a preemption.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from eah_vllm.engine.block_hashes import block_hasher_of
from eah_vllm.engine.config import enabled_methods
from eah_vllm.engine.isolation import write_orders, written_orders
from eah_vllm.method.registry import METHODS
from eah_vllm.method.rows import LayerSize, RowBuffers, RowValue
from eah_vllm.order import ORDER_FIELD, Order, image_free_id

MOST_SLOTS = 256
"""More requests than that wait for a slot; each takes memory in every layer of every worker."""


def num_slots(vllm_config: VllmConfig) -> int:
    """Return how many requests can have a slot at once."""
    return min(vllm_config.scheduler_config.max_num_seqs, MOST_SLOTS)


def row_buffers(vllm_config: VllmConfig, layers: dict[int, LayerSize], device: torch.device) -> RowBuffers | None:
    """Make the buffers of a worker; None where no method of the server acts on generated rows."""
    methods = enabled_methods(vllm_config).values()
    values: set[RowValue] = set().union(*(method.acts_on_rows for method in methods))
    if not values:
        return None
    scheduler, dtype = vllm_config.scheduler_config, vllm_config.model_config.dtype
    assert isinstance(dtype, torch.dtype)
    return RowBuffers(
        layers,
        num_slots(vllm_config),
        scheduler.max_num_batched_tokens + scheduler.max_num_seqs,
        values,
        image_free=any(method.needs_image_free_pass for method in methods),
        dtype=dtype,
        device=device,
    )


class RowSlotsMixin:
    """Holds requests back until they have a slot and their image-free pass; it stands before a scheduler class."""

    vllm_config: VllmConfig
    requests: dict[str, Request]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._free_slots = list(range(num_slots(self.vllm_config), 0, -1))
        self._slots: dict[str, int] = {}
        """By the ID of the request that has it."""
        self._without_slot: dict[str, Request] = {}
        """In the order of their arrival."""
        self._without_image_free: dict[str, tuple[Request, Request]] = {}
        """Requests whose image-free pass, the second of the pair, is not over; by the ID of the former."""

    def add_with_slot(self, request: Request) -> None:
        """Queue a request that a method acts on in its generated rows."""
        self._without_slot[request.request_id] = request
        self._give_slots()

    def _give_slots(self) -> None:
        while self._free_slots and self._without_slot:
            request = self._without_slot.pop(next(iter(self._without_slot)))
            slot = self._slots[request.request_id] = self._free_slots.pop()
            orders = [
                replace(order, slot=slot) if METHODS[order.method].acts_on_rows else order
                for order in written_orders(request)
            ]
            compare = [o for o in orders if METHODS[o.method].needs_image_free_pass and o.reason is None]
            tokens = _without_images(request) if compare else []
            if tokens:
                orders = [replace(o, image_free_tokens=len(tokens)) if o in compare else o for o in orders]
                image_free = _image_free_pass(request, tokens, compare)
                self._without_image_free[request.request_id] = request, image_free
                super().add_request(image_free)  # type: ignore[misc]
            write_orders(request, orders)
            if not tokens:  # the workers report it where a method needed one
                super().add_request(request)  # type: ignore[misc]

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        """Let vLLM take in what a step computed; admit the requests whose image-free passes are over."""
        outputs: dict[int, EngineCoreOutputs] = super().update_from_output(  # type: ignore[misc]
            scheduler_output, model_runner_output
        )
        if self._without_image_free:
            passes = {image_free.request_id for _, image_free in self._without_image_free.values()}
            for of_client in outputs.values():  # no client has asked for these
                of_client.outputs = [output for output in of_client.outputs if output.request_id not in passes]
                if of_client.finished_requests:
                    of_client.finished_requests = of_client.finished_requests - passes
            for request, image_free in list(self._without_image_free.values()):
                if image_free.is_finished():
                    del self._without_image_free[request.request_id]
                    super().add_request(request)  # type: ignore[misc]
        return outputs

    def finish_requests(self, request_ids: str | Iterable[str] | None, finished_status: RequestStatus) -> list[Request]:
        """End requests, also those that are held back."""
        if request_ids is None:
            ended = [*self._without_slot, *self._without_image_free]
        else:
            request_ids = [request_ids] if isinstance(request_ids, str) else list(request_ids)
            ended = request_ids
        held: list[Request] = []
        passes: list[str] = []
        for request_id in ended:
            if request_id in self._without_slot:
                held.append(self._without_slot.pop(request_id))
            elif request_id in self._without_image_free:
                request, image_free = self._without_image_free.pop(request_id)
                held.append(request)
                passes.append(image_free.request_id)
        for request in held:
            request.status = finished_status
        if passes:
            super().finish_requests(passes, finished_status)  # type: ignore[misc]
        for request in held:
            self._take_slot_back(request.request_id)
        found: list[Request] = super().finish_requests(request_ids, finished_status)  # type: ignore[misc]
        return found + held

    def _free_request(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """Let vLLM free what a request that ends holds, and give its slot to the next."""
        freed = super()._free_request(request, *args, **kwargs)  # type: ignore[misc]
        self._take_slot_back(request.request_id)
        return freed

    def _take_slot_back(self, request_id: str) -> None:
        slot = self._slots.pop(request_id, None)
        if slot is not None:
            self._free_slots.append(slot)
            self._give_slots()


def _without_images(request: Request) -> list[int]:
    """Return the prompt's tokens outside of the placeholders, nothing where they are not known."""
    tokens = list(request.prompt_token_ids or [])
    for feature in sorted(request.mm_features, key=lambda feature: feature.mm_position.offset, reverse=True):
        place = feature.mm_position
        del tokens[place.offset : place.offset + place.length]
    return tokens


def _image_free_pass(request: Request, tokens: list[int], orders: Sequence[Order]) -> Request:
    """Return the request without its images: a plain request of one token, whose answer nobody gets."""
    layers = tuple(sorted({layer for order in orders for layer in order.settings.layers}))
    order = replace(orders[0], settings=replace(orders[0].settings, layers=layers), tag=None, is_image_free=True)
    params = SamplingParams(max_tokens=1, temperature=0.0, extra_args={ORDER_FIELD: (order,)})
    # With a prefix from the cache its last row could come alone, in a step that is a CUDA graph.
    params.skip_reading_prefix_cache = True
    return Request(
        image_free_id(request.request_id),
        tokens,
        params,
        None,
        client_index=request.client_index,
        arrival_time=request.arrival_time,
        lora_request=request.lora_request,
        cache_salt=request.cache_salt,
        priority=request.priority,
        block_hasher=block_hasher_of(request),
    )
