"""Counting while training: images whole at working size; images and volumes in tiles at native scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from pixelwise.augment import apply_window, resize_sample
from pixelwise.bundles import WorkingScale
from pixelwise.inference.tiling import blend_tiles, padded_logits
from pixelwise.metrics import ConfusionMatrix
from pixelwise.sample import Sample
from pixelwise.training.loader import SampleCache, eval_batches, mask_of, pixels_of

Forward = Callable[[Tensor], Tensor]
"""B×H×W×C uint8 pixels to B×K×H×W logits; B×X×Y×Z×C float32 of volumes to B×K×X×Y×Z."""


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
    window: tuple[float, float] | None = None,
) -> None:
    """Add every image or volume at its own scale in overlapping tiles, as the Segmenter does.

    Memory stays bounded. The intensities of volumes are brought from ``window`` to 0..255, tile by tile.
    """

    def run(pixels: np.ndarray) -> np.ndarray:
        return forward(torch.from_numpy(pixels[None]))[0].float().cpu().numpy()

    def logits_of(pixels: np.ndarray) -> np.ndarray:
        return padded_logits(pixels if window is None else apply_window(pixels, window), run)

    for index in indices:
        sample = cache[index]
        mask = mask_of(sample)
        for top, band in blend_tiles(pixels_of(sample), working.tile, logits_of):
            labels = (band[0] > 0).astype(np.uint8) if len(band) == 1 else band.argmax(axis=0)
            matrix.update(labels, mask[top : top + band.shape[1]])
