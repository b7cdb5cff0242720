"""Large images in tiles: evenly spread, blended with Gaussian weights, one band of rows in memory.

:func:`blend_tiles` is for arrays in memory, :func:`blend_pieces` for images that are larger than it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise, product
from typing import Literal, get_args

import numpy as np

from pixelwise.errors import unknown_name


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


Weights = Literal["gaussian", "flat"]
"""How much a pixel counts in a tile: most in its centre, or everywhere the same."""


def tile_window(tile: tuple[int, int], weights: Weights) -> np.ndarray:
    """Float32 weights of a tile of this size.

    Raises
    ------
    UsageError
        Unknown weights.
    """
    if weights not in get_args(Weights):
        raise unknown_name("tile weights", weights, get_args(Weights))
    return gaussian_window(*tile) if weights == "gaussian" else np.ones(tile, np.float32)


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of an image lie, evenly spread as :func:`tile_starts` says.

    Attributes
    ----------
    sides, tile
        (height, width) of the image, and of a tile.
    tops, lefts
        The tiles' first rows and columns.
    """

    sides: tuple[int, int]
    tile: tuple[int, int]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @classmethod
    def spread(cls, sides: tuple[int, int], tile: tuple[int, int], overlap: float = 0.5) -> TileGrid:
        """The grid of an image; longer sides of a tile than the image's are cut to it."""
        tile = (min(tile[0], sides[0]), min(tile[1], sides[1]))
        tops, lefts = (tuple(tile_starts(*pair, overlap)) for pair in zip(sides, tile, strict=True))
        return cls(sides, tile, tops, lefts)

    def between(self, start: int, stop: int) -> TileGrid:
        """The tiles that touch these columns."""
        lefts = tuple(left for left in self.lefts if left < stop and left + self.tile[1] > start)
        return replace(self, lefts=lefts)

    @property
    def rows(self) -> list[tuple[int, int]]:
        """(first, end) of the rows that each row of tiles finishes."""
        return list(pairwise((*self.tops, self.tops[-1] + self.tile[0])))

    @property
    def columns(self) -> list[tuple[int, int]]:
        """(first, end) of the columns that are finished from tile to tile."""
        return list(pairwise((*self.lefts, self.lefts[-1] + self.tile[1])))

    @property
    def shared(self) -> int:
        """The most rows that a row of tiles shares with the next."""
        return max((self.tile[0] - (stop - first) for first, stop in self.rows), default=0)

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)


def blend_pieces(
    grid: TileGrid, logits: Iterable[np.ndarray | None], planes: int, window: np.ndarray
) -> Iterator[tuple[int, int, np.ndarray | None]]:
    """Blend as :func:`blend_tiles` does, to the bit, but hand out a piece after every tile.

    Between two rows of tiles, only the rows that they share are kept.

    Parameters
    ----------
    grid
        The tiles.
    logits
        K×h×w float32 of each tile, from left to right and from top to bottom; None for a tile left out.
    planes
        K.
    window
        h×w float32 weights.

    Yields
    ------
    tuple
        The piece's first row and column, and K×rows×columns float32 logits; None where no tile has been.
        Pieces come in the order of the tiles and do not overlap.
    """
    height, width = grid.tile
    first_left = grid.lefts[0]
    # The last plane holds the sum of weights.
    shared = np.zeros((planes + 1, grid.shared, grid.lefts[-1] + width - first_left), np.float32)
    sums = np.empty((planes + 1, height, width), np.float32)
    weighted = np.empty((height, width), np.float32)
    remaining = iter(logits)
    kept = 0
    for top, row_stop in grid.rows:
        finished = row_stop - top
        known = first_left  # columns left of it are in `sums` already
        for left, column_stop in grid.columns:
            done = column_stop - left
            fresh = left + width - known
            sums[:, :kept, width - fresh :] = shared[:, :kept, known - first_left : left + width - first_left]
            sums[:, kept:, width - fresh :] = 0
            known = left + width
            if (tile := next(remaining)) is not None:
                for total, plane in zip(sums, tile, strict=False):  # one after another: little memory
                    total += np.multiply(plane, window, out=weighted)
                sums[planes] += window
            yield top, left, _mean(sums[:, :finished, :done])
            beside = slice(left - first_left, column_stop - first_left)
            shared[:, : height - finished, beside] = sums[:, finished:, :done]
            if done < width:
                for plane in sums:
                    plane[:, : width - done] = plane[:, done:]
        kept = height - finished


def _mean(sums: np.ndarray) -> np.ndarray | None:
    """The weighted mean of (K+1)×h×w sums; None if all weights are zero."""
    weights = sums[-1]
    if not weights.any():
        return None
    if not weights.all():  # pixels that only left-out tiles cover: any finite number will do
        weights = np.where(weights == 0, np.float32(1), weights)
    mean: np.ndarray = sums[:-1] / weights
    return mean
