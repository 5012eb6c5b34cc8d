"""How a layer's heads are spread over tensor-parallel ranks, and what the ranks exchange."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class HeadShards:
    """Rank r holds query heads `r * n` to `(r + 1) * n - 1` of a layer, and the key/value heads of their groups."""

    rank: int
    num_ranks: int
    all_reduce: Callable[[Tensor], Tensor]
    """Sums a tensor over all ranks."""

    def gather_heads(self, local: Tensor) -> Tensor:
        """Gather `[n, local heads]` of every rank into `[n, heads]`, on every rank."""
        if self.num_ranks == 1:
            return local
        # float32 holds these counts exactly; vLLM's shared-memory all-reduce on CPU takes no integers.
        slots = torch.zeros(len(local), self.num_ranks, local.shape[1], device=local.device)
        slots[:, self.rank] = local
        return self.all_reduce(slots.flatten(1)).to(local.dtype)

    def take_heads(self, query: Tensor, key: Tensor, prompt_of_row: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
        """Return the source heads' queries and keys on every rank, each taken from the one rank that holds it.

        Args:
            query: `[tokens, local heads, head_dim]`.
            key: `[tokens, local kv heads, head_dim]`.
            prompt_of_row: each token's prompt, int64 `[tokens]`; the number of prompts for a token of none.
            heads: each prompt's source head, int64 `[prompts]`.

        Returns:
            `[tokens, head_dim]` each; tokens of no prompt hold zeros.
        """
        rows, head_of_row, foreign = self._places(query, prompt_of_row, heads)
        kv_head_of_row = torch.div(head_of_row, query.shape[1] // key.shape[1], rounding_mode="floor")
        both = torch.cat((query[rows, head_of_row], key[rows, kv_head_of_row]), dim=-1)
        both = self.add_up(both.masked_fill_(foreign, 0))
        return both[:, : query.shape[2]], both[:, query.shape[2] :]

    def take_head(self, matrix: Tensor, prompt_of_row: Tensor, heads: Tensor) -> Tensor:
        """Return one head's rows of `[tokens, local heads, dim]` on every rank, `[tokens, dim]`; see `take_heads`."""
        rows, head_of_row, foreign = self._places(matrix, prompt_of_row, heads)
        return self.add_up(matrix[rows, head_of_row].masked_fill_(foreign, 0))

    def _places(self, matrix: Tensor, prompt_of_row: Tensor, heads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return each row's number, its head on this rank, and whether that head is another rank's, or nobody's."""
        num_heads = matrix.shape[1]
        nobody = heads.new_full((1,), -1)
        head_of_row = torch.cat((heads - self.rank * num_heads, nobody)).index_select(0, prompt_of_row)
        foreign = (head_of_row < 0) | (head_of_row >= num_heads)
        rows = torch.arange(len(matrix), device=matrix.device)
        return rows, head_of_row.clamp(0, num_heads - 1), foreign[:, None]

    def take_group(self, per_kv_head: Tensor, head: Tensor, num_heads: int) -> Tensor:
        """Take the source head's group out of `[n, local kv heads, ...]`, as `[n, ...]`, on every rank.

        Args:
            per_kv_head: what this rank holds, `[n, local kv heads, ...]`.
            head: the source head, int64 scalar.
            num_heads: number of query heads on a rank.
        """
        mine, local_head = self._find(head, num_heads)
        kv_head = torch.div(local_head, num_heads // per_kv_head.shape[1], rounding_mode="floor")
        group = per_kv_head.index_select(1, kv_head.view(1))[:, 0]
        return self.add_up(torch.where(mine, group, torch.zeros_like(group)))

    def _find(self, head: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
        local_head = head - self.rank * num_heads
        return (local_head >= 0) & (local_head < num_heads), local_head.clamp(0, num_heads - 1)

    def add_up(self, local: Tensor) -> Tensor:
        """Return the sum of what all ranks hold, on every rank."""
        # Adding zeros is exact, so every rank gets the owner's bits; only the device knows which rank is the owner.
        return local if self.num_ranks == 1 else self.all_reduce(local)
