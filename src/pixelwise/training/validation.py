"""Counting on validation images while training: whole at working size, or in tiles at native scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from pixelwise.augment import resize_sample
from pixelwise.bundles import WorkingScale
from pixelwise.inference.tiling import blend_tiles, padded_logits
from pixelwise.metrics import ConfusionMatrix
from pixelwise.sample import Sample
from pixelwise.training.loader import SampleCache, eval_batches

Forward = Callable[[Tensor], Tensor]
"""B×H×W×C uint8 pixels to B×K×H×W logits."""


def count_whole(
    matrix: ConfusionMatrix,
    forward: Forward,
    cache: SampleCache,
    indices: Sequence[int],
    *,
    working: WorkingScale,
    batch: int,
    threads: int,
) -> None:
    """Add every image, resized to the working scale, with its mask resized by nearest neighbour."""

    def at_working_size(sample: Sample) -> Sample:
        return resize_sample(sample, working.size_for(*sample.size))

    for prepared in eval_batches(cache, indices, at_working_size, batch=batch, threads=threads):
        logits = forward(prepared.pixels)
        labels = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(dim=1)
        matrix.update(
            labels.to(torch.uint8 if logits.shape[1] <= 256 else torch.int64).cpu(), prepared.target
        )


def count_tiles(
    matrix: ConfusionMatrix,
    forward: Forward,
    cache: SampleCache,
    indices: Sequence[int],
    *,
    working: WorkingScale,
) -> None:
    """Add every image at its own scale in overlapping tiles, as the Segmenter does; memory stays bounded."""

    def run(pixels: np.ndarray) -> np.ndarray:
        return forward(torch.from_numpy(pixels[None]))[0].float().cpu().numpy()

    def logits_of(pixels: np.ndarray) -> np.ndarray:
        return padded_logits(pixels, run)

    for index in indices:
        sample = cache[index]
        assert sample.mask is not None
        for top, band in blend_tiles(sample.image, (working.height, working.width), logits_of):
            labels = (band[0] > 0).astype(np.uint8) if len(band) == 1 else band.argmax(axis=0)
            matrix.update(labels, sample.mask[top : top + band.shape[1]])
