"""Affine maps of the plane and the one warp that applies them to pixels.

A point is (x, y) in pixels from the image's top-left CORNER, so the centre of the first pixel is
(0.5, 0.5) and an image of width w spans 0..w at every scale. OpenCV counts from the first pixel's
centre instead; :func:`warp` is the only place that converts. Matrices are 3×3 float64 and compose
right to left: ``zoom(2) @ translation(3, 0)`` shifts first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np

Border = Literal["reflect", "replicate", "constant"]

_BORDERS = {
    "reflect": cv2.BORDER_REFLECT_101,
    "replicate": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
}
# OpenCV addresses source pixels by int16, and takes border values for at most four channels.
_LONGEST_SIDE = 32767
_MOST_CHANNELS = 4
_LINEAR_DTYPES = ("uint8", "uint16", "int16", "float32", "float64")


def translation(dx: float, dy: float) -> np.ndarray:
    """The matrix that shifts by (dx, dy) pixels."""
    return np.array([[1.0, 0.0, dx], [0.0, 1.0, dy], [0.0, 0.0, 1.0]])


def zoom(x: float, y: float | None = None) -> np.ndarray:
    """The matrix that scales about the corner; negative factors mirror."""
    return np.diag([x, x if y is None else y, 1.0])


def rotation(degrees: float) -> np.ndarray:
    """The matrix that rotates about the corner, anticlockwise as seen on the screen (y points down)."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def warp(
    array: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    *,
    linear: bool,
    border: Border,
    fill: int = 0,
) -> np.ndarray:
    """Move pixels by an affine map, reading only the part of the source that ends up in the output.

    Parameters
    ----------
    array
        H×W or H×W×C, any dtype, any number of channels, any side length; may be a memory map.
    matrix
        3×3 map from source to output, corner origin.
    size
        (height, width) of the output.
    linear
        Bilinear, averaging over areas first where the map shrinks to a half or less (so that it does
        not alias); otherwise the nearest pixel, unchanged: the only right choice for class ids.
    border
        What lies outside the source: its mirror image, its edge pixel, or a constant.
    fill
        That constant.

    Returns
    -------
    A contiguous array of that size, with the channels and dtype of the source.

    Examples
    --------
    >>> warp(np.array([[1, 2, 3]], np.uint8), translation(-1, 0), (1, 3), linear=False,
    ...      border="constant", fill=255)
    array([[  2,   3, 255]], dtype=uint8)
    """
    to_source = np.linalg.inv(matrix)
    cell = _averaging_cell(to_source) if linear else 1
    rows, columns = _source_window(to_source, size, array.shape[:2], cell)
    if max(rows.stop - rows.start, columns.stop - columns.start) > _LONGEST_SIDE and max(size) > 1:
        return _warp_halves(array, matrix, size, linear=linear, border=border, fill=fill)

    to_part = zoom(1 / cell) @ translation(-columns.start, -rows.start) @ to_source
    from_centres = translation(-0.5, -0.5) @ to_part @ translation(0.5, 0.5)
    flags = cv2.WARP_INVERSE_MAP | (cv2.INTER_LINEAR if linear else cv2.INTER_NEAREST)

    def move(group: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(
            _average(group, cell) if cell > 1 else group,
            from_centres[:2],
            size[::-1],
            flags=flags,
            borderMode=_BORDERS[border],
            borderValue=(fill,) * _MOST_CHANNELS,
        )

    part = array[rows, columns]
    if linear:
        return filter_channels(part, move)
    if part.dtype == np.int32 and fill == 0:
        # OpenCV rounds int32 positions more coarsely than those of uint8, uint16 and float32, so that
        # instances would leave their mask here and there. Nearest only moves the bits; 0 is 0 in both.
        return _in_groups(part.view(np.float32), move).view(np.int32)
    return _in_groups(part, move)


def _averaging_cell(to_source: np.ndarray) -> int:
    """The largest power of two not above the number of source pixels per output pixel."""
    shrink = math.sqrt(abs(np.linalg.det(to_source[:2, :2])))
    # The tolerance lets a rotated map by exactly a half count as a half.
    return 2 ** max(0, math.floor(math.log2(shrink) + 1e-9))


def _source_window(
    to_source: np.ndarray, size: tuple[int, int], shape: tuple[int, ...], cell: int
) -> tuple[slice, slice]:
    """The rows and columns of the source that the output, mirrored borders included, can depend on."""
    height, width = size
    corners = to_source[:2] @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    (left, top), (right, bottom) = corners.min(axis=1), corners.max(axis=1)
    return _needed(top, bottom, shape[0], cell), _needed(left, right, shape[1], cell)


def _needed(low: float, high: float, length: int, cell: int) -> slice:
    margin = 2 * cell  # bilinear weights reach one (averaged) pixel further, rounding one more
    start, stop = math.floor(low) - margin, math.ceil(high) + margin
    if start < 0:
        stop = max(stop, 1 - start)
    if stop > length:
        start = min(start, 2 * length - stop - 1)
    start = min(max(start, 0), length - 1)
    start -= start % cell  # the same averaging grid whatever the window
    return slice(start, min(max(stop, start + 1), length))


def _warp_halves(
    array: np.ndarray, matrix: np.ndarray, size: tuple[int, int], *, linear: bool, border: Border, fill: int
) -> np.ndarray:
    height, width = size
    axis = 0 if height >= width else 1
    half = size[axis] // 2
    first = (half, width) if axis == 0 else (height, half)
    second = (height - half, width) if axis == 0 else (height, width - half)
    shifted = translation(*((0, -half) if axis == 0 else (-half, 0))) @ matrix
    return np.concatenate(
        [
            warp(array, matrix, first, linear=linear, border=border, fill=fill),
            warp(array, shifted, second, linear=linear, border=border, fill=fill),
        ],
        axis=axis,
    )


def _average(group: np.ndarray, cell: int) -> np.ndarray:
    """Means over cell×cell squares; mirrored where the last ones are cut off."""
    height, width = group.shape[:2]
    rows, columns = math.ceil(height / cell), math.ceil(width / cell)
    below, right = rows * cell - height, columns * cell - width
    if below or right:
        group = cv2.copyMakeBorder(group, 0, below, 0, right, cv2.BORDER_REFLECT)
    return cv2.resize(group, (columns, rows), interpolation=cv2.INTER_AREA)


def filter_channels(array: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply an OpenCV function that computes with values to any number of channels of any dtype.

    Types that OpenCV does not compute with pass through float64, integers rounded on the way back.
    """
    if array.dtype.name in _LINEAR_DTYPES:
        return _in_groups(array, function)
    result = _in_groups(array.astype(np.float64), function)
    return (result if array.dtype.kind == "f" else result.round()).astype(array.dtype)


def _in_groups(array: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply to up to four channels at a time; H×W stays H×W, H×W×C stays H×W×C."""
    if array.ndim == 2:
        return function(np.ascontiguousarray(array))
    groups = [
        function(np.ascontiguousarray(array[..., first : first + _MOST_CHANNELS]))
        for first in range(0, array.shape[2], _MOST_CHANNELS)
    ]
    groups = [group[..., None] if group.ndim == 2 else group for group in groups]
    return groups[0] if len(groups) == 1 else np.concatenate(groups, axis=2)
