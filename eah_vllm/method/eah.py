"""EAH (arXiv 2411.09968): count vision sinks, choose each prompt's source head, and let every head use its map."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from eah_vllm import report
from eah_vllm.kernels.packed import on_device
from eah_vllm.method import backend
from eah_vllm.method.base import LayerReport, LayerStep, Method, Parts, Prompt
from eah_vllm.method.draws import random_number
from eah_vllm.method.sinks import ColumnTables, count_sinks_of_prompts
from eah_vllm.method.source_head import Choice, Choices, choice_of, choose_source_heads
from eah_vllm.method.spans import image_columns
from eah_vllm.options import MAX_SEED, EAHOptions, MethodOptions
from eah_vllm.settings import PRESETS, EAHSettings, ModelShape, resolve


class EAH(Method):
    """Lets every head of a layer use the attention map of the head that sees the image best."""

    name: ClassVar[str] = "eah"
    Options: ClassVar[type[MethodOptions]] = EAHOptions

    def resolve(self, said: Any, defaults: Any, shape: ModelShape, prefix: str | None = None) -> EAHSettings:
        """See `settings.resolve`."""
        return resolve(said, defaults, shape, prefix or "eah.")

    def on_prompts(self, at: LayerStep, prompts: Parts[Prompt]) -> Tensor:
        """Choose each prompt's source head and broadcast its map; the numbers are those of `choose`."""
        choices = self.choose(at, prompts)
        at.ordinary(overwritten=prompts.are_everything and surely_broadcast(prompts, choices))
        self.broadcast(at, prompts, choices)
        return choices

    def choose(self, at: LayerStep, prompts: Parts[Prompt]) -> Tensor:
        """Choose the source head of every whole prompt in one layer.

        Returns:
            int64 `[prompts, 4]`, on the query's device: source head, its sinks, most sinks of any head, broadcast or
            not.
        """
        received = backend.attention_received(prompts, columns_of(prompts), at.query, at.key, at.scale)
        columns, choices = _tables(prompts, at)
        counts = count_sinks_of_prompts(received, columns, len(prompts.parts))
        return choose_source_heads(at.shards.gather_heads(counts), choices)

    def broadcast(self, at: LayerStep, prompts: Parts[Prompt], choices: Tensor) -> None:
        """Overwrite each prompt's rows of the output with the source head's map times each head's own values.

        Args:
            at: layer and step, whose `ordinary` was called.
            prompts: whole prompts of the step.
            choices: see `choose`; a prompt that is not to be changed keeps its rows.
        """
        columns = columns_of(prompts)
        backend.broadcast(prompts, columns, choices, at.query, at.key, at.value, at.output, at.scale, at.shards)

    def explain(
        self, settings: EAHSettings, layer: int, image_tokens: int, numbers: Sequence[float]
    ) -> tuple[LayerReport, str | None]:
        """Return the report on one layer; `numbers` is a row of `choose`, and 1 after it for a recorded choice."""
        head, sinks, most_sinks, broadcast, *recorded = (int(number) for number in numbers)
        reason = None
        if not broadcast:
            reason = report.NO_SINK if most_sinks == 0 else report.BELOW_MIN_DENSITY
            if not settings.head_zero_wins and most_sinks > 0 and head == 0:
                reason = report.HEAD_ZERO
        density = sinks / image_tokens if image_tokens else 0.0
        layer_report = {
            "layer": layer,
            "head": head if broadcast else None,
            "sinks": sinks,
            "image_tokens": image_tokens,
            "density": density,
        }
        return layer_report | ({"reused": True} if any(recorded) else {}), reason

    def warm_up(self, at: LayerStep) -> None:
        """Compile the GPU kernels, so that no request waits for that."""
        backend.compile_kernels(at.query, at.key, at.value, at.output, at.scale, at.shards)

    def describe(self, defaults: Any, shape: ModelShape) -> Mapping[str, Any]:
        """Return defaults, presets and limits."""
        return {
            "defaults": defaults.over(PRESETS[defaults.preset or "paper"]).model_dump(exclude_none=True),
            "presets": {name: options.model_dump(exclude_none=True) for name, options in PRESETS.items()},
            "limits": {
                "layer": [0, shape.num_layers - 1],
                "head": [0, shape.num_heads - 1],
                "seed": [0, MAX_SEED],
                "threshold": "greater than 0, less than 1",
                "relative_threshold": "greater than 0",
                "min_density": [0, 1],
            },
        }


def surely_broadcast(prompts: Parts[Prompt], choices: Tensor) -> bool:
    """Whether it is known, without waiting for the device, that every prompt's rows will be overwritten."""
    if choices.device.type == "cpu":
        return bool(choices[:, 3].all())
    return all(isinstance(state.settings.head, int) for state in prompts.states)


def columns_of(prompts: Parts[Prompt]) -> list[list[int]]:
    """Return the positions of each prompt's image tokens within the prompt, as its settings count them."""
    found: list[list[int]] | None = prompts.memo.get("columns")
    if found is None:
        found = prompts.memo["columns"] = [
            image_columns(state.spans, drop_first=not state.settings.first_token_counts) for state in prompts.states
        ]
    return found


def _tables(prompts: Parts[Prompt], at: LayerStep) -> tuple[ColumnTables, Choices]:
    """Return what distinguishes the prompts when sinks are counted and heads chosen, in one copy to the device."""
    # Once per step, for all layers; only a random head is another one in each layer.
    name = f"choices {at.layer if any(state.settings.head == 'random' for state in prompts.states) else ''}"
    found: tuple[ColumnTables, Choices] | None = prompts.memo.get(name)
    if found is None:
        num_heads = at.query.shape[1] * at.shards.num_ranks
        columns = ColumnTables.arrays(
            columns_of(prompts),
            [state.settings.divisor or state.prompt_length - 1 for state in prompts.states],
            [state.settings.sink_threshold(state.prompt_length) for state in prompts.states],
        )
        choices = Choices.arrays([_choice(state, at.layer, num_heads) for state in prompts.states], num_heads)
        tables = on_device([*columns, *choices], at.query.device)
        found = prompts.memo[name] = ColumnTables(*tables[: len(columns)]), Choices(*tables[len(columns) :])
    return found


def _choice(state: Prompt, layer: int, num_heads: int) -> Choice:
    settings: EAHSettings = state.settings
    return choice_of(
        settings.head,
        state.image_tokens,
        num_heads,
        min_density=settings.min_density,
        head_zero_wins=settings.head_zero_wins,
        random_seed=random_number(settings.seed, layer, state.pictures) if settings.head == "random" else 0,
    )
