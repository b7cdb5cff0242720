"""The kernel of :func:`pixelwise.kernels.upsample.upsample_argmax`, apart because numba is slow to import."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def argmax_rows(  # type: ignore[no-untyped-def]
    logits, row_first, row_second, row_weight, column_first, column_second, column_weight, start, stop, labels
):
    """Fill rows ``start`` to ``stop`` of ``labels``; rows and columns have two places and a weight each."""
    classes, _, width = logits.shape
    row = np.empty((classes, width), np.float32)
    best = np.empty(width, np.float32)
    leader = np.empty(width, np.int32)
    for y in range(start, stop):
        top, bottom, weight = row_first[y], row_second[y], row_weight[y]
        best[:] = -np.inf
        leader[:] = 0
        for k in range(classes):
            for x in range(width):
                value = logits[k, top, x] + weight * (logits[k, bottom, x] - logits[k, top, x])
                row[k, x] = value
                if value > best[x]:
                    best[x] = value
                    leader[x] = k
        for x in range(labels.shape[1]):
            left, right = column_first[x], column_second[x]
            if leader[left] == leader[right]:
                labels[y, x] = leader[left]
                continue
            label, highest = 0, np.float32(-np.inf)
            for k in range(classes):
                value = row[k, left] + column_weight[x] * (row[k, right] - row[k, left])
                if value > highest:
                    label, highest = k, value
            labels[y, x] = label
