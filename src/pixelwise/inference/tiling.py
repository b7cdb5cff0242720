"""Large images in tiles: evenly spread, blended with Gaussian weights, one band of rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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


def gaussian_window(height: int, width: int) -> np.ndarray:
    """height×width float32 weights, 1 in the centre, sigma an eighth of each side, nowhere zero."""
    rows, columns = (np.exp(-0.5 * ((np.arange(n) + 0.5 - n / 2) / (n / 8)) ** 2) for n in (height, width))
    window = np.outer(rows, columns).astype(np.float32)
    return np.maximum(window, window[window > 0].min())


SMALLEST = 32
"""px; networks halve an image five times, so smaller sides are mirrored up to it."""


def padded_logits(pixels: np.ndarray, run: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """K×h×w logits of h×w×C pixels of any size from ``run``, which needs sides of at least ``SMALLEST``."""
    height, width = pixels.shape[:2]
    missing = max(0, SMALLEST - height), max(0, SMALLEST - width)
    if any(missing):
        pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
    return run(np.ascontiguousarray(pixels))[:, :height, :width]


def blend_tiles(
    image: np.ndarray,
    tile: tuple[int, int],
    logits_of: Callable[[np.ndarray], np.ndarray],
    overlap: float = 0.5,
) -> Iterator[tuple[int, np.ndarray]]:
    """Run ``logits_of`` on every tile and yield finished bands of blended logits from top to bottom.

    Parameters
    ----------
    image
        H×W×C.
    tile
        (height, width) of a tile; sides longer than the image's are cut to it.
    logits_of
        h×w×C pixels to K×h×w float32 logits.
    overlap
        The least share of a tile that its neighbour covers too.

    Yields
    ------
    tuple
        The band's first row, and K×rows×W float32 logits. Only one row of tiles is in memory.
    """
    height, width = image.shape[:2]
    tile_h, tile_w = min(tile[0], height), min(tile[1], width)
    window = gaussian_window(tile_h, tile_w)
    tops, lefts = tile_starts(height, tile_h, overlap), tile_starts(width, tile_w, overlap)
    logit_sum: np.ndarray | None = None
    weight_sum = np.zeros((tile_h, width), np.float32)
    for position, top in enumerate(tops):
        for left in lefts:
            logits = logits_of(image[top : top + tile_h, left : left + tile_w])
            if logit_sum is None:
                logit_sum = np.zeros((logits.shape[0], tile_h, width), np.float32)
            logit_sum[:, :, left : left + tile_w] += logits * window
            weight_sum[:, left : left + tile_w] += window
        assert logit_sum is not None
        finished = (tops[position + 1] if position + 1 < len(tops) else height) - top
        yield top, logit_sum[:, :finished] / weight_sum[:finished]
        # The rows that the next tiles share move to the top; the rest starts at zero.
        for band in (logit_sum, weight_sum[None]):
            band[:, : tile_h - finished] = band[:, finished:].copy()
            band[:, tile_h - finished :] = 0
