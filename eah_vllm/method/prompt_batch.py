"""The EAH prompts of one step, and attention over all of them: in Triton kernels on GPUs, blocked in torch on CPUs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from eah_vllm.kernels.tables import PromptTables, prompt_tables
from eah_vllm.method.attention import broadcast_attention
from eah_vllm.method.shards import HeadShards
from eah_vllm.method.sinks import attention_received
from eah_vllm.method.spans import ImageSpan
from eah_vllm.settings import EAHSettings


class Prompt(Protocol):
    """What the method reads from a request; the worker keeps more about it."""

    settings: EAHSettings
    prompt_length: int
    spans: tuple[ImageSpan, ...]
    pictures: tuple[str, ...]

    @property
    def image_tokens(self) -> int:
        """Number of image tokens in the prompt."""


Request = TypeVar("Request", bound=Prompt, covariant=True)
"""The type in which the worker keeps a request."""


@dataclass(frozen=True, slots=True)
class PrefillSlice(Generic[Request]):
    """The rest of a request's prompt after `num_cached` tokens: `num_rows` rows of the batch, from `row_start` on."""

    state: Request
    row_start: int
    batch_idx: int
    num_cached: int = 0

    @property
    def num_rows(self) -> int:
        """Prompt rows in this step."""
        return self.state.prompt_length - self.num_cached

    @property
    def rows(self) -> slice:
        """Place of these rows in the batch."""
        return slice(self.row_start, self.row_start + self.num_rows)


def image_columns(spans: Sequence[ImageSpan], *, drop_first: bool = False) -> list[int]:
    """Return the prompt positions of the image tokens; `drop_first` omits each span's first, as `[36:611]` does.

    That slice is the one of the released code.
    """
    return [column for span in spans for column in range(span.start + drop_first, span.stop)]


@dataclass(frozen=True)
class PromptBatch(Generic[Request]):
    """Whole prompts among the rows of a step.

    `query`, `key`, `value` and `output` of its methods hold the rows of the whole step: `[tokens, local heads, dim]`.
    """

    slices: tuple[PrefillSlice[Request], ...]

    @cached_property
    def columns(self) -> list[list[int]]:
        """Positions of each prompt's image tokens within the prompt, as its preset counts them."""
        return [
            image_columns(part.state.spans, drop_first=part.state.settings.preset == "released_code")
            for part in self.slices
        ]

    def attention_received(self, query: Tensor, key: Tensor, scale: float) -> tuple[list[Tensor], list[Tensor]]:
        """Compute the attention that image tokens receive from later rows, for each prompt.

        Returns:
            For each prompt its columns, int64 `[num_columns]`, and the sums, float32 `[local heads, num_columns]`.
        """
        if not runs_triton(query.device):
            # Without a dtype, torch would make floats of an empty list.
            columns = [torch.tensor(positions, dtype=torch.int64) for positions in self.columns]
            pairs = zip(self.slices, columns, strict=True)
            return columns, [attention_received(query[p.rows], key[p.rows], c, scale) for p, c in pairs]
        from eah_vllm.kernels import launch  # imported here, since V1 machines may lack Triton

        tables, sizes = self._tables(query.device), [len(positions) for positions in self.columns]
        received = launch.attention_received(query, key, tables, scale)
        return list(tables.columns.long().split(sizes)), list(received.split(sizes, dim=1))

    def broadcast(
        self,
        choices: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        output: Tensor,
        scale: float,
        shards: HeadShards,
    ) -> None:
        """Overwrite each prompt's rows of `output` with the source head's map times each head's own values.

        Args:
            choices: int64 `[prompts, 4]`, see `eah.choose_heads`; a prompt that is not to be changed keeps its rows.
            query: queries of the step.
            key: keys of the step.
            value: values of the step.
            output: ordinary attention's output.
            scale: factor on the scores before the softmax.
            shards: where the layer's other heads are.
        """
        group, sources = query.shape[1] // key.shape[1], choices[:, 0]
        if shards.num_ranks > 1:
            rows = [part.rows for part in self.slices]
            source_query, source_key = shards.take_heads(query, key, rows, list(sources))
            query, key, sources = source_query[:, None], source_key[:, None], torch.zeros_like(sources)
        if not runs_triton(query.device):
            for part, head, applies in zip(self.slices, sources.tolist(), choices[:, 3].tolist(), strict=True):
                if applies:
                    prompt = query[part.rows, head], key[part.rows, head // group], value[part.rows]
                    broadcast_attention(*prompt, output.shape[1], scale, output=output[part.rows])
            return
        from eah_vllm.kernels import launch

        kv_heads = torch.div(sources, group, rounding_mode="floor")
        applies = choices[:, 3].bool()
        tables = self._tables(query.device)
        launch.broadcast_rows(query, key, sources, kv_heads, value, applies, output, tables, scale)

    def _tables(self, device: torch.device) -> PromptTables:
        tables = self.__dict__.get("tables")
        if tables is None:  # once per step, for all layers
            starts = [part.row_start for part in self.slices]
            lengths = [part.num_rows for part in self.slices]
            tables = self.__dict__["tables"] = prompt_tables(starts, lengths, self.columns, device)
        return tables


def compile_kernels(
    query: Tensor, key: Tensor, value: Tensor, output: Tensor, scale: float, shards: HeadShards
) -> None:
    """Run the GPU kernels on one token and change nothing: later steps find them compiled for these dtypes and strides.

    The arguments are those of `PromptBatch.broadcast`.
    """
    from eah_vllm.kernels import launch

    prompts, head = prompt_tables([0], [1], [[0]], query.device), torch.zeros(1, dtype=torch.int64, device=query.device)
    launch.attention_received(query, key, prompts, scale)
    if shards.num_ranks > 1:  # these are the strides of what `HeadShards.take_heads` returns
        query = key = query.new_zeros(1, 2 * query.shape[2])[:, None, : query.shape[2]]
    launch.broadcast_rows(query, key, head, head, value, head.bool(), output, prompts, scale)


def runs_triton(device: torch.device) -> bool:
    """Whether tensors on this device go to the Triton kernels: on GPUs, and on CPUs under Triton's interpreter."""
    return device.type != "cpu" or os.environ.get("TRITON_INTERPRET") == "1"
