"""The image processor that a checkpoint of MiniCPM-V brings along: a small picture of all of it, and slices of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BaseImageProcessor, BatchFeature

Size = tuple[int, int]


class MiniCPMVImageProcessor(BaseImageProcessor):
    """Cuts a picture with more pixels than `scale_resolution` squared into at most `max_slice_nums` slices."""

    model_input_names = ["pixel_values"]  # noqa: RUF012 - as transformers reads it
    im_start_token, im_end_token = "<image>", "</image>"
    slice_start_token, slice_end_token = "<slice>", "</slice>"
    im_id_start, im_id_end = "<image_id>", "</image_id>"
    unk_token = "<unk>"

    def __init__(
        self,
        max_slice_nums: int = 9,
        scale_resolution: int = 448,
        patch_size: int = 14,
        image_feature_size: int = 64,
        use_image_id: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.max_slice_nums = max_slice_nums
        self.scale_resolution = scale_resolution
        self.patch_size = patch_size
        self.image_feature_size = image_feature_size
        self.use_image_id = use_image_id

    def get_sliced_grid(self, image_size: Size, max_slice_nums: int | None = None) -> Size | None:
        """Return columns and rows of slices, with the picture's shape as nearly as can be; None: it is not cut."""
        most = self.max_slice_nums if max_slice_nums is None else max_slice_nums
        width, height = image_size
        wanted = min(math.ceil(width * height / self.scale_resolution**2), most)
        if wanted <= 1:
            return None
        counts = [count for count in (wanted - 1, wanted, wanted + 1) if 1 < count <= most]
        grids = [
            (columns, count // columns) for count in counts for columns in range(1, count + 1) if count % columns == 0
        ]
        return min(grids, key=lambda grid: abs(math.log(width / height) - math.log(grid[0] / grid[1])))

    def get_slice_image_placeholder(
        self,
        image_size: Size,
        image_idx: int = 0,
        max_slice_nums: int | None = None,
        use_image_id: bool | None = None,
    ) -> str:
        """Return the text that stands for a picture: its number, the whole of it, and rows of slices."""
        tokens = self.unk_token * self.image_feature_size
        numbered = self.use_image_id if use_image_id is None else use_image_id
        text = f"{self.im_id_start}{image_idx}{self.im_id_end}" if numbered else ""
        text += self.im_start_token + tokens + self.im_end_token
        columns, rows = self.get_sliced_grid(image_size, max_slice_nums) or (0, 0)
        row = (self.slice_start_token + tokens + self.slice_end_token) * columns
        return text + "\n".join([row] * rows)

    def preprocess(
        self, images: Any, max_slice_nums: int | None = None, return_tensors: str | None = None, **_: Any
    ) -> BatchFeature:
        """Return the slices of each picture, or frame, of each prompt, with their patches side by side."""
        if isinstance(images, Image.Image):
            images = [images]
        prompts = [images] if images and isinstance(images[0], Image.Image) else images
        found: dict[str, list[Any]] = {"pixel_values": [], "image_sizes": [], "tgt_sizes": []}
        for given in prompts:
            pictures = [one if isinstance(one, Image.Image) else Image.fromarray(one) for one in given]
            slices = [part for picture in pictures for part in self._slices(picture.convert("RGB"), max_slice_nums)]
            grids = [[length // self.patch_size for length in reversed(part.size)] for part in slices]
            found["pixel_values"].append([self._patches(part) for part in slices])
            found["image_sizes"].append([picture.size for picture in pictures])
            found["tgt_sizes"].append(torch.tensor(grids))
        return BatchFeature(found)

    def _slices(self, picture: Image.Image, max_slice_nums: int | None) -> list[Image.Image]:
        grid = self.get_sliced_grid(picture.size, max_slice_nums)
        small = picture.resize(self._fitting(picture.size, upscale=grid is None), Image.Resampling.BICUBIC)
        if grid is None:
            return [small]
        columns, rows = grid
        share = tuple(_multiple(length, count) / count for length, count in zip(picture.size, grid, strict=True))
        width, height = self._fitting(share, upscale=True)
        large = picture.resize((width * columns, height * rows), Image.Resampling.BICUBIC)
        boxes = [(column * width, row * height) for row in range(rows) for column in range(columns)]
        return [small, *(large.crop((left, top, left + width, top + height)) for left, top in boxes)]

    def _fitting(self, size: tuple[float, ...], *, upscale: bool) -> Size:
        """Return a size of whole patches, of as many pixels as the vision tower is for."""
        width, height = size
        if upscale or width * height > self.scale_resolution**2:
            ratio = width / height
            height = int(self.scale_resolution / math.sqrt(ratio))
            width = int(height * ratio)
        return _multiple(width, self.patch_size), _multiple(height, self.patch_size)

    def _patches(self, part: Image.Image) -> torch.Tensor:
        """Return `[3, patch, patch x number of patches]`, normalised."""
        pixels = torch.from_numpy(np.asarray(part).astype(np.float32) / 255).permute(2, 0, 1)
        rows = ((pixels - 0.5) / 0.5).unfold(1, self.patch_size, self.patch_size)
        patches = rows.unfold(2, self.patch_size, self.patch_size)  # [3, rows, columns, patch, patch]
        return patches.permute(0, 3, 1, 2, 4).reshape(3, self.patch_size, -1)


def _multiple(length: float, of: int) -> int:
    return max(round(length / of) * of, of)
