"""Polygons to pixels: a scanline fill in which a pixel belongs to a ring when its centre lies inside.

One rule decides every case (even-odd, half-open): the crossings of each row's centre line are sorted, and
the pixels between the first and the second, the third and the fourth, ... are filled. A centre exactly on
an edge belongs to the area right of it or below it, so rings that share an edge never overlap and leave no
gap, and an edge that is walked forth and back (the bridge of a keyhole polygon) cancels out.
"""

from __future__ import annotations

import numba
import numpy as np


def fill_rings(canvas: np.ndarray, vertices: np.ndarray, ends: np.ndarray, values: np.ndarray) -> None:
    """Paint rings one after another, later ones over earlier ones.

    Parameters
    ----------
    canvas
        H×W of any integer type, C-contiguous; written in place. What lies outside is cut off.
    vertices
        N×2 float64 (x, y) in the corner convention, ring after ring.
    ends
        R int64: where each ring ends in ``vertices``.
    values
        R values to paint with.

    Examples
    --------
    >>> canvas = np.zeros((2, 4), np.uint8)
    >>> fill_rings(canvas, np.array([[1.0, 0], [3, 0], [3, 2], [1, 2]]), np.array([4]), np.array([7]))
    >>> canvas.tolist()
    [[0, 7, 7, 0], [0, 7, 7, 0]]
    """
    _fill(canvas, np.ascontiguousarray(vertices, np.float64), ends.astype(np.int64), values.astype(np.int64))


@numba.njit(cache=True, nogil=True)
def _fill(canvas, vertices, ends, values):  # type: ignore[no-untyped-def]
    height, width = canvas.shape
    most = 1
    begin = 0
    for end in ends:
        most = max(most, end - begin)
        begin = end
    first = np.zeros(height + 1, np.int64)  # crossings of a row, then where they end in `crossings`
    crossings = np.empty(max(64, 4 * most), np.float64)
    begin = 0
    for ring in range(len(ends)):
        end = ends[ring]
        low, high = _rows(vertices, begin, end, height)
        if low < high:
            first[low : high + 1] = 0
            _edges(vertices, begin, end, height, width, first, crossings, True)
            total = 0
            for row in range(low, high):
                count = first[row]
                first[row] = total
                total += count
            if total > len(crossings):
                crossings = np.empty(2 * total, np.float64)
            _edges(vertices, begin, end, height, width, first, crossings, False)
            start = 0
            for row in range(low, high):
                stop = first[row]
                _sort(crossings, start, stop)
                for pair in range(start, stop - 1, 2):
                    left = _column(crossings[pair], width)
                    right = _column(crossings[pair + 1], width)
                    canvas[row, left:right] = values[ring]
                start = stop
        begin = end


@numba.njit(cache=True, nogil=True, inline="always")
def _rows(vertices, begin, end, height):  # type: ignore[no-untyped-def]
    """The rows whose centre line a ring can cross, half-open."""
    low, high = np.inf, -np.inf
    for i in range(begin, end):
        low = min(low, vertices[i, 1])
        high = max(high, vertices[i, 1])
    return _column(low, height), _column(high, height)


@numba.njit(cache=True, nogil=True, inline="always")
def _column(position, width):  # type: ignore[no-untyped-def]
    """The first pixel whose centre is not left of a position, cut to 0..width."""
    if not position > 0.5:  # also what is not a number
        return 0
    return width if position >= width else int(np.ceil(position - 0.5))


@numba.njit(cache=True, nogil=True)
def _edges(vertices, begin, end, height, width, first, crossings, counting):  # type: ignore[no-untyped-def]
    """Count the crossings of every row, or write them where the counts say."""
    for i in range(begin, end):
        j = i + 1 if i + 1 < end else begin
        # From the upper to the lower end, so that an edge gives the same crossings in both directions.
        if vertices[i, 1] <= vertices[j, 1]:
            x0, y0, x1, y1 = vertices[i, 0], vertices[i, 1], vertices[j, 0], vertices[j, 1]
        else:
            x0, y0, x1, y1 = vertices[j, 0], vertices[j, 1], vertices[i, 0], vertices[i, 1]
        top, bottom = _column(y0, height), _column(y1, height)
        if counting:
            for row in range(top, bottom):
                first[row] += 1
        elif top < bottom:
            slope = (x1 - x0) / (y1 - y0)
            for row in range(top, bottom):
                crossings[first[row]] = x0 + (row + 0.5 - y0) * slope
                first[row] += 1


@numba.njit(cache=True, nogil=True, inline="always")
def _sort(values, start, stop):  # type: ignore[no-untyped-def]
    """By insertion: a row of a ring has two crossings as a rule."""
    for i in range(start + 1, stop):
        value = values[i]
        j = i - 1
        while j >= start and values[j] > value:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = value
