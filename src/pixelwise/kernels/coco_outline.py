"""Outlines to masks exactly as the COCO API draws them, for numbers that can be compared with its own.

Source: github.com/cocodataset/cocoapi, ``common/maskApi.c`` (rleFrPoly), whose rule, put in our words, is:

- Corners are rounded to a grid of fifths of a pixel, and each edge becomes a digital line on that grid,
  which steps along its longer side.
- In the middle of every pixel column (between its third and its fourth fifth) a line that passes there
  marks a row: that of the upper of the two points, rounded to whole rows.
- Down the columns, one after another, each mark turns the pixels on or off; an odd last one stays on.
- Rings of one mask are united.

The rest of this package fills by pixel centres instead (:mod:`pixelwise.kernels.raster`). There, the points
of flat edges between two columns are never computed, as only the middle of a column marks anything.
"""

from __future__ import annotations

import numba
import numpy as np

from pixelwise.kernels.spans import Spans, spans_of_stretches


def spans_of_outlines(
    vertices: np.ndarray, ring_end: np.ndarray, mask_end: np.ndarray, heights: np.ndarray, widths: np.ndarray
) -> Spans:
    """Masks from rings.

    Parameters
    ----------
    vertices
        V×2 float64 (x, y), ring after ring.
    ring_end
        R int64: where each ring ends in ``vertices``.
    mask_end
        N int64: where each mask ends in ``ring_end``.
    heights, widths
        N int64, the size of each mask's image.

    Examples
    --------
    >>> square = np.array([[1.0, 1], [3, 1], [3, 3], [1, 3]])
    >>> one = np.array([1]), np.array([4]), np.array([4])
    >>> spans_of_outlines(square, np.array([4]), *one).boxes.tolist()
    [[1, 1, 3, 3]]
    """
    # Nothing is off the grid by more than int64 holds, and what lies so far out is cut off in any case.
    grid = np.clip(5 * vertices + 0.5, -(2.0**40), 2.0**40).astype(np.int64)
    edges, end = _fill(
        grid, ring_end.astype(np.int64), mask_end.astype(np.int64), heights.astype(np.int64),
        widths.astype(np.int64),
    )  # fmt: skip
    return spans_of_stretches(edges, end, heights)


@numba.njit(cache=True, nogil=True)
def _fill(grid, ring_end, mask_end, heights, widths):  # type: ignore[no-untyped-def]
    edges = np.empty(max(1024, 2 * len(grid)), np.int32)
    end = np.empty(len(mask_end), np.int64)
    size, ring, corner = 0, 0, 0
    for mask in range(len(mask_end)):
        height, width = heights[mask], widths[mask]
        stretches = np.empty(0, np.int64)
        while ring < mask_end[mask]:
            marks = _marks(grid[corner : ring_end[ring]], height, width)
            stretches = np.concatenate((stretches, _stretches(marks, height * width)))
            corner = ring_end[ring]
            ring += 1
        stretches.sort()
        while len(edges) < size + 2 * len(stretches):
            edges = np.concatenate((edges, np.empty(len(edges), np.int32)))
        begin = size
        for code in stretches:
            first, last = code >> 32, code & 0xFFFFFFFF
            if size > begin and first <= edges[size - 1]:  # rings overlap or touch
                edges[size - 1] = max(edges[size - 1], last)
            else:
                edges[size], edges[size + 1] = first, last
                size += 2
        end[mask] = size
    return edges[:size].copy(), end


@numba.njit(cache=True, nogil=True)
def _stretches(marks, limit):  # type: ignore[no-untyped-def]
    """Stretches between every first and second mark, the end of each below its beginning in one number."""
    marks.sort()
    found = np.empty((len(marks) + 1) // 2, np.int64)
    count = 0
    for i in range(0, len(marks), 2):
        last = marks[i + 1] if i + 1 < len(marks) else limit
        if marks[i] < last:
            found[count] = marks[i] << 32 | last
            count += 1
    return found[:count]


@numba.njit(cache=True, nogil=True)
def _marks(ring, height, width):  # type: ignore[no-untyped-def]
    """Positions (column * height + row) where the ring passes the middle of a column."""
    most = 0
    for i in range(len(ring)):
        most += abs(ring[i, 0] - ring[i - 1, 0]) // 5 + 2
    marks = np.empty(min(most, len(ring) * (width + 2)), np.int64)
    count = 0
    for i in range(len(ring)):
        j = (i + 1) % len(ring)
        xs, ys, xe, ye = ring[i, 0], ring[i, 1], ring[j, 0], ring[j, 1]
        across, down = abs(xe - xs), abs(ye - ys)
        # Both directions of an edge give the same points: it is walked from its lesser end.
        if (xs > xe) if across >= down else (ys > ye):
            xs, ys, xe, ye = xe, ye, xs, ys
        if xs == xe:
            continue
        left, right = min(xs, xe), max(xs, xe)
        first = max(0, -((2 - left) // 5))  # the columns whose 3rd and 4th fifth lie within the edge
        last = min(width - 1, (right - 3) // 5)
        if across >= down:
            slope = (ye - ys) / across
            for column in range(first, last + 1):
                step = 5 * column + 2 - xs
                upper = min(int(ys + slope * step + 0.5), int(ys + slope * (step + 1) + 0.5))
                marks[count] = column * height + _row(upper, height)
                count += 1
            continue
        slope = (xe - xs) / down
        for column in range(first, last + 1):
            # The last step that is still on the near side of the column's middle: guessed, then put right.
            bound = 5 * column + (2 if xe > xs else 3)
            step = min(max(int((bound - xs) / slope), 0), down - 1)
            while step > 0 and _beyond(xs, slope, step, bound):
                step -= 1
            while step < down - 1 and not _beyond(xs, slope, step + 1, bound):
                step += 1
            marks[count] = column * height + _row(ys + step, height)
            count += 1
    return marks[:count]


@numba.njit(cache=True, nogil=True, inline="always")
def _beyond(xs, slope, step, bound):  # type: ignore[no-untyped-def]
    """Whether a steep edge has left the grid column ``bound``, in the direction that it runs, at a step."""
    x = int(xs + slope * step + 0.5)
    return x > bound if slope > 0 else x < bound


@numba.njit(cache=True, nogil=True, inline="always")
def _row(y, height):  # type: ignore[no-untyped-def]
    """The whole row at or below a point of the grid, within the image."""
    return min(max((y + 2) // 5, 0), height)
