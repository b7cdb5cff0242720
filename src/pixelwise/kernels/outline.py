"""Pixels to polygons: the outlines of a mask along the edges between pixels.

The corners are whole numbers in the corner convention, and filling the rings gives back the very same
pixels. Pixels that touch at a corner only are not connected, so no ring touches itself there.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np


class Outlines(NamedTuple):
    """Every ring around the on pixels of a mask: outer ones clockwise (as seen), holes the other way.

    Attributes
    ----------
    vertices
        N×2 int32 (x, y) corners, ring after ring.
    ends
        R int64: where each ring ends in ``vertices``.
    starts
        R×2 int32 (row, column) of an on pixel that touches the ring.
    """

    vertices: np.ndarray
    ends: np.ndarray
    starts: np.ndarray


def trace_outlines(mask: np.ndarray) -> Outlines:
    """All outlines of H×W pixels (zero is off).

    >>> trace_outlines(np.array([[0, 1, 1]], np.uint8)).vertices.tolist()
    [[3, 0], [3, 1], [1, 1], [1, 0]]
    """
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    padded[1:-1, 1:-1] = mask != 0
    return Outlines(*_trace(padded))


@numba.njit(cache=True, nogil=True)
def _trace(on):  # type: ignore[no-untyped-def]
    height, width = on.shape
    seen = np.zeros((height, width), np.uint8)  # upper edges of on pixels that a ring has walked along
    vertices = np.empty((64, 2), np.int32)
    ends = np.empty(8, np.int64)
    starts = np.empty((8, 2), np.int32)
    corners, rings = 0, 0
    for row in range(1, height):
        for column in range(1, width):
            if not on[row, column] or on[row - 1, column] or seen[row, column]:
                continue
            if rings == len(ends):
                ends = np.concatenate((ends, np.empty_like(ends)))
                starts = np.concatenate((starts, np.empty_like(starts)))
            starts[rings] = row - 1, column - 1
            # Along the upper edge to the right, with the on pixels at the right hand.
            x, y, dx, dy = column, row, 1, 0
            while True:
                if dx == 1:
                    if seen[y, x]:
                        break
                    seen[y, x] = 1
                x += dx
                y += dy
                # The pixels ahead at the right and at the left hand.
                right = on[y + (dy + dx - 1) // 2, x + (dx - dy - 1) // 2]
                left = on[y + (dy - dx - 1) // 2, x + (dx + dy - 1) // 2]
                if right and not left:
                    continue
                if corners == len(vertices):
                    vertices = np.concatenate((vertices, np.empty_like(vertices)))
                vertices[corners] = x - 1, y - 1
                corners += 1
                if right:  # and left: turn left
                    dx, dy = dy, -dx
                else:
                    dx, dy = -dy, dx
            ends[rings] = corners
            rings += 1
    return vertices[:corners].copy(), ends[:rings].copy(), starts[:rings].copy()
