"""Choosing windows of large images, more often where the rarer classes are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pixelwise.augment.geometry import translation
from pixelwise.augment.transform import Transform, check_parts
from pixelwise.errors import UsageError
from pixelwise.sample import Sample

_BLOCK_PIXELS = 1 << 22  # small enough for the processor's cache and for exact float32 counts


@dataclass(frozen=True)
class PatchSampler:
    """Random windows, a share of them centred on a pixel of a rarer class (as nnU-Net does).

    Rarer are all classes present in the mask but its commonest; they are equally likely, whatever
    their areas. Choosing reads the mask only, and cutting reads only the window of the image, so a
    memory-mapped image is never read whole.

    Parameters
    ----------
    size
        (height, width) of the window in pixels.
    foreground
        The probability of centring on a rarer class; otherwise every position is equally likely.
    ignore
        The mask's id for "no label", never centred on, and the mask's value outside the image.

    Examples
    --------
    >>> mask = np.zeros((500, 500), np.uint8)
    >>> mask[400, 300] = 3
    >>> sampler = PatchSampler((64, 64), foreground=1.0)
    >>> sampler.centre((500, 500), np.random.default_rng(0), mask)
    (300.5, 400.5)
    """

    size: tuple[int, int]
    foreground: float = 0.33
    ignore: int = 255

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise UsageError(f"a patch needs a height and width of at least 1 pixel, found {self.size}")
        if not 0 <= self.foreground <= 1:
            raise UsageError(f"foreground is a probability from 0 to 1, found {self.foreground}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Cut a window out of a sample, at its own scale; mirrored and ignored where it overhangs."""
        check_parts(sample)
        x, y = self.centre(sample.size, rng, sample.mask)
        corner = translation(-round(x - self.size[1] / 2), -round(y - self.size[0] / 2))
        return Transform(corner, self.size, self.ignore).sample(sample)

    def centre(
        self,
        image_size: tuple[int, int],
        rng: np.random.Generator,
        mask: np.ndarray | None = None,
        *,
        extent: tuple[float, float] | None = None,
    ) -> tuple[float, float]:
        """The (x, y) centre of the next window in source pixels, corner origin.

        The window lies inside the image as far as it fits; along an axis where it is the larger of
        the two, the image lies inside the window. The centre is always on the image.

        Parameters
        ----------
        image_size
            (height, width) of the image.
        rng
            The source of chance.
        mask
            H×W class ids; without one, every position is equally likely.
        extent
            (height, width) of the window in source pixels, when the sample is also scaled.
        """
        height, width = extent or self.size
        y, x = draw_centre(image_size, (height, width), self.foreground, self.ignore, rng, mask)
        return x, y


def draw_centre(
    sides: Sequence[int],
    extent: Sequence[float],
    foreground: float,
    ignore: int,
    rng: np.random.Generator,
    mask: np.ndarray | None,
) -> tuple[float, ...]:
    """The centre of a window of ``extent`` in an image of ``sides``, along any number of axes."""
    ranges = [_range_of_centres(*pair) for pair in zip(sides, extent, strict=True)]
    centre = [rng.uniform(*allowed) for allowed in ranges]
    if mask is not None and rng.random() < foreground:
        position = _rarer_position(mask, ignore, rng)
        if position is not None:
            centre = [float(np.clip(p + 0.5, *allowed)) for p, allowed in zip(position, ranges, strict=True)]
    return tuple(centre)


def _range_of_centres(length: int, extent: float) -> tuple[float, float]:
    low, high = sorted((extent / 2, length - extent / 2))
    # A centre on the image keeps part of it in view however the window is turned.
    return max(low, 0.0), min(high, float(length))


def _rarer_position(mask: np.ndarray, ignore: int, rng: np.random.Generator) -> tuple[int, ...] | None:
    """A random place of a random class among those present, the commonest excepted."""
    counts = np.sum([_counts(block) for _, block in _blocks(mask)], axis=0)
    if ignore < len(counts):
        counts[ignore] = 0
    rarer = np.flatnonzero(counts)
    rarer = rarer[rarer != counts.argmax()]
    if not len(rarer):
        return None
    chosen = rng.choice(rarer)
    return _nth_position(mask, chosen, int(rng.integers(counts[chosen])))


def _nth_position(mask: np.ndarray, value: int, rank: int) -> tuple[int, ...]:
    for top, block in _blocks(mask):
        found = block == value
        here = int(np.count_nonzero(found))
        if rank < here:
            row, *rest = np.unravel_index(int(np.flatnonzero(found)[rank]), block.shape)
            return (top + int(row), *map(int, rest))
        rank -= here
    raise AssertionError("the mask changed while it was searched")


def _blocks(mask: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    rows = max(1, _BLOCK_PIXELS // math.prod(mask.shape[1:]))
    for top in range(0, len(mask), rows):
        yield top, mask[top : top + rows]


def _counts(block: np.ndarray) -> np.ndarray:
    bins = 256 if block.dtype == np.uint8 else 65536
    plane = np.ascontiguousarray(block).reshape(len(block), -1)
    counts = cv2.calcHist([plane], [0], None, [bins], [0, bins])
    return counts.ravel().astype(np.int64)
