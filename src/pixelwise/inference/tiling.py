"""Large images in tiles: evenly spread, blended with Gaussian weights, one band of rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import product

import numpy as np


def tile_starts(length: int, tile: int, overlap: float = 0.5) -> list[int]:
    """Where tiles begin along one side: the fewest that overlap by at least ``overlap``, evenly spread.

    Source: nnU-Net's rule (Isensee et al. 2021), which never pads and never moves only the last tile.

    >>> tile_starts(110, 64), tile_starts(64, 64), tile_starts(65, 64)
    ([0, 23, 46], [0], [0, 1])
    """
    if length <= tile:
        return [0]
    count = int(np.ceil((length - tile) / max(1.0, tile * (1 - overlap)))) + 1
    return [int(np.round((length - tile) / (count - 1) * i)) for i in range(count)]


def gaussian_window(*sides: int) -> np.ndarray:
    """Float32 weights of these sides, 1 in the centre, sigma an eighth of each side, nowhere zero."""
    profiles = (np.exp(-0.5 * ((np.arange(n) + 0.5 - n / 2) / (n / 8)) ** 2) for n in sides)
    window = reduce(np.multiply.outer, profiles).astype(np.float32)
    return np.maximum(window, window[window > 0].min())


SMALLEST = 32
"""px; networks halve an image five times, so smaller sides are mirrored up to it."""

SMALLEST_VOLUME = 8
"""Voxels; networks for volumes halve three times only."""


def padded_logits(pixels: np.ndarray, run: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """K×h×w logits of h×w×C pixels of any size from ``run``, which needs sides of at least ``SMALLEST``.

    K×d×h×w of volumes d×h×w×C, whose sides must be at least ``SMALLEST_VOLUME`` for ``run``.
    """
    sides = pixels.shape[:-1]
    smallest = SMALLEST if len(sides) == 2 else SMALLEST_VOLUME
    missing = [(0, max(0, smallest - side)) for side in sides]
    if np.any(missing):
        pixels = np.pad(pixels, (*missing, (0, 0)), mode="symmetric")
    return run(np.ascontiguousarray(pixels))[:, *(slice(side) for side in sides)]


def blend_tiles(
    image: np.ndarray,
    tile: Sequence[int],
    logits_of: Callable[[np.ndarray], np.ndarray],
    overlap: float = 0.5,
) -> Iterator[tuple[int, np.ndarray]]:
    """Run ``logits_of`` on every tile and yield finished bands of blended logits from top to bottom.

    Parameters
    ----------
    image
        H×W×C, or D×H×W×C for a volume.
    tile
        (height, width) or (depth, height, width) of a tile; longer sides than the image's are cut to it.
    logits_of
        h×w×C pixels to K×h×w float32 logits; d×h×w×C to K×d×h×w.
    overlap
        The least share of a tile that its neighbour covers too.

    Yields
    ------
    tuple
        The band's first row, and K×rows×W float32 logits (K×rows×H×W, where rows run along the depth). Only
        one row of tiles is in memory.
    """
    sides = image.shape[:-1]
    tile = [min(pair) for pair in zip(tile, sides, strict=True)]
    window = gaussian_window(*tile)
    tops, *others = (tile_starts(side, part, overlap) for side, part in zip(sides, tile, strict=True))
    band_sides = (tile[0], *sides[1:])
    logit_sum: np.ndarray | None = None
    weight_sum = np.zeros(band_sides, np.float32)
    for position, top in enumerate(tops):
        for corner in product(*others):
            beside = tuple(slice(start, start + part) for start, part in zip(corner, tile[1:], strict=True))
            logits = logits_of(image[top : top + tile[0], *beside])
            if logit_sum is None:
                logit_sum = np.zeros((logits.shape[0], *band_sides), np.float32)
            logit_sum[:, :, *beside] += logits * window
            weight_sum[:, *beside] += window
        assert logit_sum is not None
        finished = (tops[position + 1] if position + 1 < len(tops) else sides[0]) - top
        yield top, logit_sum[:, :finished] / weight_sum[:finished]
        # The rows that the next tiles share move to the top; the rest starts at zero.
        for band in (logit_sum, weight_sum[None]):
            band[:, : tile[0] - finished] = band[:, finished:].copy()
            band[:, tile[0] - finished :] = 0
