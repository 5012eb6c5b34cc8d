"""The inspector: counts vision sinks of every layer and head in one pass of the prompt, and changes nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from eah_vllm.method import backend
from eah_vllm.method.base import LayerReport, LayerStep, Method, Parts, Prompt
from eah_vllm.method.sinks import count_sinks, mean_over_later_rows
from eah_vllm.method.spans import image_columns
from eah_vllm.options import InspectOptions, MethodOptions
from eah_vllm.settings import InspectSettings, ModelShape, resolve_inspection


class Inspect(Method):
    """Says what EAH (arXiv 2411.09968, section 3) would see in every layer, for several thresholds at once."""

    name: ClassVar[str] = "inspect"
    Options: ClassVar[type[MethodOptions]] = InspectOptions
    changes_kv: ClassVar[bool] = False
    has_field: ClassVar[bool] = False

    def resolve(self, said: Any, defaults: Any, shape: ModelShape, prefix: str | None = None) -> InspectSettings:
        """See `settings.resolve_inspection`."""
        return resolve_inspection(said, defaults, shape, prefix or "inspect.")

    def on_prompts(self, at: LayerStep, prompts: Parts[Prompt]) -> Tensor:
        """Count the sinks of every head.

        Returns:
            float32 `[prompts, n]`, on the query's device: at each threshold the sinks of every head of all ranks; in
            the layer of the map also the mean attention that each image token receives. Rows are padded with zeros.
        """
        at.ordinary()
        if "columns" not in prompts.memo:
            prompts.memo["columns"] = [image_columns(state.spans) for state in prompts.states]
        columns, sums = backend.attention_received(prompts, prompts.memo["columns"], at.query, at.key, at.scale)
        means, counts = [], []
        for state, positions, received in zip(prompts.states, columns, sums, strict=True):
            means.append(mean_over_later_rows(received, state.prompt_length - 1 - positions))
            # Numbers of Python, one after the other: a tensor of thresholds would have to wait for the device.
            thresholds = state.settings.sink_thresholds(state.prompt_length)
            counts.append(torch.stack([count_sinks(means[-1], threshold) for threshold in thresholds]))
        gathered = at.shards.gather_heads(torch.cat(counts)).split([len(count) for count in counts])
        rows = [sinks.flatten().float() for sinks in gathered]  # float32 holds such counts exactly
        for idx, state in enumerate(prompts.states):
            layer, head = state.settings.map_of or (None, 0)
            if layer == at.layer:
                rows[idx] = torch.cat((rows[idx], at.shards.gather_heads(means[idx].T)[:, head]))
        return pad_sequence(rows, batch_first=True)

    def explain(
        self, settings: InspectSettings, layer: int, image_tokens: int, numbers: Sequence[float]
    ) -> tuple[LayerReport, str | None]:
        """Return the report on one layer.

        Its `sinks` hold for each head the count at each threshold. Its `source_head` holds for each threshold the head
        that EAH would choose (most sinks, lowest index on ties), None where no head has a sink.
        """
        heads = settings.num_heads
        counted = heads * (len(settings.thresholds) + len(settings.relative_thresholds))
        by_threshold = [[int(n) for n in numbers[start : start + heads]] for start in range(0, counted, heads)]
        report: dict[str, Any] = {
            "layer": layer,
            "image_tokens": image_tokens,
            "source_head": [sinks.index(max(sinks)) if any(sinks) else None for sinks in by_threshold],
            "sinks": [list(of_head) for of_head in zip(*by_threshold, strict=True)],
        }
        if settings.map_of is not None and settings.map_of[0] == layer:
            report["received"] = list(numbers[counted : counted + image_tokens])
        return report, None

    def describe(self, defaults: Any, shape: ModelShape) -> Mapping[str, Any]:
        """Return what the options may be."""
        return {"limits": {"layer": [0, shape.num_layers - 1], "head": [0, shape.num_heads - 1]}}
