"""Exact Euclidean distances between pixel centres: to a set, to an outline, and to the two nearest instances.

:func:`border_weights` must know, for each background pixel, the two nearest *different* instances. One
transform per instance would read the whole image hundreds of times; here it is read twice. A pass down and up
the columns keeps the two nearest different ids of each pixel's column. They are enough: an id that two others
in the column precede cannot be among the two nearest from any pixel of that row. Then each row is combined
with itself, shifted by one pixel, by two and so on, until no shift can bring anything nearer or the weight
would be nothing. Both loops work on whole rows without branches, which makes vector instructions of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import cv2
import numpy as np
from numba import njit
from scipy import ndimage

from pixelwise.errors import DataError, UsageError

T = TypeVar("T")

_NEGLIGIBLE = 1e-6  # a border weight below this is written as 0
_LARGEST = 1000.0  # w0, and sigma in pixels: the reach is then less than _FAR
_FAR = np.int32(1 << 14)  # a distance beyond every reach, whose square still fits into int32 twice
_PIXELS_WORTH_A_THREAD = 1 << 15


def distance_to(points: np.ndarray, spacing: Sequence[float] | None = None) -> np.ndarray:
    """The distance of every pixel or voxel to the nearest True one.

    Parameters
    ----------
    points
        H×W or D×H×W boolean.
    spacing
        Side lengths of a pixel by axis; 1 when None. Distances are in its unit.

    Returns
    -------
    float32 of the same shape: 0 at the points, infinite everywhere when there is none.

    Examples
    --------
    >>> distance_to(np.array([[True, False, False]]))
    array([[0., 1., 2.]], dtype=float32)
    """
    if not points.any():
        return np.full(points.shape, np.inf, np.float32)
    elsewhere = ~np.asarray(points, bool)
    if points.ndim == 2 and spacing is None:
        distances: np.ndarray = cv2.distanceTransform(
            elsewhere.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
        )
        return distances
    return ndimage.distance_transform_edt(elsewhere, spacing).astype(np.float32)


def signed_distances(
    regions: np.ndarray, valid: np.ndarray | None = None, spacing: Sequence[float] | None = None
) -> np.ndarray:
    """Distances to the outlines of N regions, negative inside.

    A pixel's distance is that to the nearest valid pixel on the other side of the outline, so at least 1.
    Ignored pixels lie on neither side: where they surround a region, its outline is the next valid pixel.

    Parameters
    ----------
    regions
        N×H×W or N×D×H×W boolean.
    valid
        The same shape, False where a pixel is ignored; all are valid when None.
    spacing
        Side lengths of a pixel by axis; 1 when None.

    Returns
    -------
    float32 of the same shape. 0 at ignored pixels, and all over a region without an outline: one that has
    no valid pixel, or all of them.

    Examples
    --------
    >>> signed_distances(np.array([[[True, True, False, False]]]))
    array([[[-2., -1.,  1.,  2.]]], dtype=float32)
    """
    distances = np.zeros(regions.shape, np.float32)

    def fill(number: int) -> None:
        inside, outside = regions[number], ~regions[number]
        if valid is not None:
            inside, outside = inside & valid[number], outside & valid[number]
        if inside.any() and outside.any():
            np.copyto(distances[number], distance_to(inside, spacing), where=outside)
            np.copyto(distances[number], -distance_to(outside, spacing), where=inside)

    _in_threads(fill, range(len(regions)), regions.size)
    return distances


def border_weights(
    instances: np.ndarray, w0: float = 10.0, sigma: float = 5.0, *, ignored: np.ndarray | None = None
) -> np.ndarray:
    """U-Net's border map, ``w0 * exp(-(d1 + d2)^2 / (2 sigma^2))``: large in narrow gaps between instances.

    d1 and d2 are a background pixel's distances to the nearest pixels of the two nearest instances. Source:
    Ronneberger et al., U-Net, 2015, arXiv 1505.04597, equation 2, without its class balance.

    Parameters
    ----------
    instances
        H×W instance ids of any integer type, 0 for the background; ids need not be consecutive.
    w0
        The weight that a gap of no width would have, up to 1000.
    sigma
        How quickly it falls with the width, in pixels, up to 1000.
    ignored
        H×W boolean: pixels that get 0 and belong to no instance.

    Returns
    -------
    H×W float32, exact to 1e-6: 0 inside instances, and everywhere when there are fewer than two.

    Raises
    ------
    DataError
        The ids are no integers, negative, or beyond int32.
    UsageError
        ``w0`` is negative, ``sigma`` out of range, or the shapes do not fit.

    Examples
    --------
    >>> border_weights(np.array([[7, 0, 0, 0, 3]]), w0=10, sigma=5).round(2)
    array([[0.  , 7.26, 7.26, 7.26, 0.  ]], dtype=float32)
    """
    if not (0 <= w0 <= _LARGEST and 0 < sigma <= _LARGEST):
        raise UsageError(f"w0 lies in 0..1000 and sigma above 0 and up to 1000, found {w0:g} and {sigma:g}")
    ids = _as_ids(instances, ignored)
    weights = np.zeros(ids.shape, np.float32)
    if w0 <= _NEGLIGIBLE or not ids.any():
        return weights
    reach = sigma * math.sqrt(2 * math.log(w0 / _NEGLIGIBLE))  # the largest d1 + d2 that counts

    height, width = ids.shape
    nearest = np.empty((2, height, width), np.int32)  # the two nearest ids of each pixel's own column
    squares = np.empty((2, height, width), np.int32)  # and their squared distances
    _in_threads(lambda part: _scan_columns(ids, nearest, squares, *part), _parts(width, ids.size), ids.size)
    _in_threads(
        lambda part: _search_rows(ids, nearest, squares, reach, w0, sigma, weights, *part),
        _parts(height, ids.size),
        ids.size,
    )
    if ignored is not None:
        weights[ignored] = 0
    return weights


def _as_ids(instances: np.ndarray, ignored: np.ndarray | None) -> np.ndarray:
    """C-contiguous int32 ids, 0 where ignored; copied only when they must be."""
    if instances.ndim != 2 or (ignored is not None and ignored.shape != instances.shape):
        shapes = [a.shape for a in (instances, ignored) if a is not None]
        raise UsageError(f"instances and ignored pixels are H×W of equal size, found {shapes}")
    if instances.dtype.kind not in "iub":
        raise DataError(f"instance ids are integers, found {instances.dtype}")
    if instances.size and not 0 <= instances.min() <= instances.max() <= np.iinfo(np.int32).max:
        raise DataError(f"instance ids lie in 0..2^31-1, found {instances.min()}..{instances.max()}")
    ids = np.ascontiguousarray(instances, np.int32)
    return ids if ignored is None else np.where(ignored, np.int32(0), ids)


def _parts(length: int, pixels: int) -> list[tuple[int, int]]:
    """``length`` rows or columns as (start, stop), a part for each thread that pays."""
    # As many threads as OpenCV may use: it heeds affinity, container limits and cv2.setNumThreads.
    threads = max(1, min(cv2.getNumThreads(), pixels // _PIXELS_WORTH_A_THREAD, length))
    edges = np.linspace(0, length, threads + 1).astype(int).tolist()
    return list(zip(edges[:-1], edges[1:], strict=True))


def _in_threads(work: Callable[[T], None], items: Sequence[T], pixels: int) -> None:
    """``work(item)`` for every item, on several threads where that pays."""
    threads = min(cv2.getNumThreads(), len(items))
    if threads <= 1 or pixels < 2 * _PIXELS_WORTH_A_THREAD:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items))


@njit(cache=True, nogil=True)
def _scan_columns(ids, nearest, squares, start, stop):  # type: ignore[no-untyped-def]
    """The two nearest different ids in each pixel's column, for columns start..stop."""
    height = ids.shape[0]
    for upwards in (False, True):
        label = np.zeros((2, stop - start), np.int32)
        distance = np.full((2, stop - start), _FAR, np.int32)
        for i in range(height):
            y = height - 1 - i if upwards else i
            _pass_row(ids[y, start:stop], label[0], distance[0], label[1], distance[1])
            if upwards:
                _merge_row(
                    nearest[0, y, start:stop], squares[0, y, start:stop],
                    nearest[1, y, start:stop], squares[1, y, start:stop],
                    label[0], distance[0], label[1], distance[1],
                )  # fmt: skip
            else:
                nearest[:, y, start:stop] = label
                squares[:, y, start:stop] = distance


@njit(cache=True, nogil=True)
def _pass_row(ids, label, distance, label2, distance2):  # type: ignore[no-untyped-def]
    """Let the latest id and the latest other one of each column, with their distances, include a row."""
    for i in range(ids.size):
        found = ids[i] > 0
        different = found & (ids[i] != label[i])
        label2[i] = label[i] if different else label2[i]
        distance2[i] = min(distance[i] if different else distance2[i], _FAR - 1) + 1
        label[i] = ids[i] if found else label[i]
        distance[i] = 0 if found else min(distance[i], _FAR - 1) + 1


@njit(cache=True, nogil=True)
def _merge_row(  # type: ignore[no-untyped-def]
    label, square, label2, square2, below, distance, below2, distance2
):
    """Merge the two ids above with the two below; ``square`` and ``square2`` hold distances until here."""
    for i in range(label.size):
        nearer_below = distance[i] < square[i]
        nearest, first = (below[i], distance[i]) if nearer_below else (label[i], square[i])
        second_label, second = (label[i], square[i]) if nearer_below else (below[i], distance[i])
        second = _FAR if second_label == nearest else second
        closer = (label2[i] != nearest) & (square2[i] < second)
        second_label, second = (label2[i], square2[i]) if closer else (second_label, second)
        closer = (below2[i] != nearest) & (distance2[i] < second)
        second_label, second = (below2[i], distance2[i]) if closer else (second_label, second)
        label[i], square[i] = nearest, first * first
        label2[i], square2[i] = second_label, second * second


@njit(cache=True, nogil=True)
def _search_rows(  # type: ignore[no-untyped-def]
    ids, nearest, squares, reach, w0, sigma, weights, start, stop
):
    """Fill the weights of rows start..stop from the columns' two nearest ids, a row at a time."""
    width = ids.shape[1]
    for y in range(start, stop):
        label, first, second = nearest[0, y].copy(), squares[0, y].copy(), squares[1, y].copy()
        second[ids[y] > 0] = 0  # inside an instance there is nothing to look for
        for step in range(1, width):
            if step % 4 == 1 and not _goes_on(first, second, step, reach):
                break
            for here, there in ((slice(step, width), slice(0, -step)), (slice(0, -step), slice(step, width))):
                _take_row(
                    label[here], first[here], second[here],
                    nearest[0, y, there], squares[0, y, there], nearest[1, y, there], squares[1, y, there],
                    step * step,
                )  # fmt: skip
        for x in range(width):
            gap = math.sqrt(first[x]) + math.sqrt(second[x])
            if second[x] > 0 and gap <= reach:
                weights[y, x] = w0 * math.exp(-gap * gap / (2 * sigma * sigma))


@njit(cache=True, nogil=True)
def _goes_on(first, second, step, reach):  # type: ignore[no-untyped-def]
    """Whether a column ``step`` aside can still be nearer to any pixel, and d1 + d2 within reach."""
    rest = np.int64(max(0.0, reach - step) ** 2)
    halfway = 2 * step <= reach
    count = 0
    for i in range(first.size):
        count += (step * step < second[i]) & (halfway | (first[i] <= rest))
    return count > 0


@njit(cache=True, nogil=True)
def _take_row(  # type: ignore[no-untyped-def]
    label, first, second, candidate, square, candidate2, square2, aside
):
    """Offer each pixel the two ids of a column ``sqrt(aside)`` pixels away."""
    for i in range(label.size):
        nearest, d1, d2 = label[i], first[i], second[i]
        distance = np.int32(square[i] + aside)  # numba would go on in 64 bits, half as many at a time
        other = min(d2, max(d1, distance))
        d2 = d2 if candidate[i] == nearest else other
        nearest = candidate[i] if distance < d1 else nearest
        d1 = min(d1, distance)
        distance = np.int32(square2[i] + aside)
        other = min(d2, max(d1, distance))
        second[i] = d2 if candidate2[i] == nearest else other
        label[i] = candidate2[i] if distance < d1 else nearest
        first[i] = min(d1, distance)
