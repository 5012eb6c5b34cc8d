"""Reads the tensors of a checkpoint one at a time, and writes a new one in shards: memory holds one shard."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from eah_vllm.convert.error import ConvertError

SHARD_BYTES = 4 << 30
PATTERNS = ("model*.safetensors", "pytorch_model*.bin")
NOT_WEIGHTS = (".rotary_emb.inv_freq", ".embeddings.position_ids")
"""Ends of names that old versions of transformers saved beside the weights; models compute these themselves."""


class Tensors:
    """The tensors of a checkpoint's folder.

    Args:
        folder: a folder with `model*.safetensors` or `pytorch_model*.bin`.

    Raises:
        ConvertError: the folder has neither.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files = next((found for found in (sorted(folder.glob(pattern)) for pattern in PATTERNS) if found), None)
        if files is None:
            raise ConvertError(f"{folder} has no weights: it must have {' or '.join(PATTERNS)}")
        self._safe: dict[str, Path] = {}
        self._mapped: dict[str, Tensor] = {}
        for file in files:
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt") as opened:
                    self._safe |= dict.fromkeys(opened.keys(), file)
            else:
                self._mapped |= torch.load(file, map_location="cpu", weights_only=True, mmap=True)

    def __iter__(self) -> Iterator[str]:
        """Yield the names of all weights."""
        return (name for name in (*self._safe, *self._mapped) if not name.endswith(NOT_WEIGHTS))

    def shape(self, name: str) -> list[int]:
        """Return a tensor's shape without reading it."""
        if name in self._mapped:
            return list(self._mapped[name].shape)
        with safe_open(self._safe[name], framework="pt") as opened:
            return list(opened.get_slice(name).get_shape())

    def read(self, name: str) -> Tensor:
        """Return a tensor."""
        if name in self._mapped:
            return self._mapped[name]
        with safe_open(self._safe[name], framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
        return tensor

    def check(self, expected: dict[str, list[int]]) -> None:
        """Compare names and shapes with those of the layout.

        Raises:
            ConvertError: a tensor is missing, unexpected or has another shape; it is named.
        """
        found = set(self)
        for name in sorted(expected.keys() - found):
            raise ConvertError(f"tensor {name!r} is missing in {self.folder}")
        for name in sorted(found - expected.keys()):
            raise ConvertError(f"{self.folder} has a tensor {name!r} for which this layout has no place")
        for name, shape in expected.items():
            if self.shape(name) != shape:
                raise ConvertError(f"tensor {name!r} of {self.folder} must have shape {shape}, not {self.shape(name)}")


def write(folder: Path, tensors: Iterable[tuple[str, Tensor]], shard_bytes: int = SHARD_BYTES) -> None:
    """Write tensors as `model-*.safetensors` with their index."""
    shards: list[list[str]] = []
    shard: dict[str, Tensor] = {}
    total = 0

    def put_down() -> None:
        shards.append(list(shard))
        save_file(shard, folder / f"{len(shards)}.part", metadata={"format": "pt"})
        shard.clear()

    for name, tensor in tensors:
        if shard and sum(one.nbytes for one in shard.values()) + tensor.nbytes > shard_bytes:
            put_down()
        shard[name] = tensor.contiguous()
        total += tensor.nbytes
    put_down()
    files = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for number, file in enumerate(files, 1):
        (folder / f"{number}.part").rename(folder / file)
        (folder / file).chmod(0o644)  # safetensors makes files private
    where = {name: file for names, file in zip(shards, files, strict=True) for name in names}
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
