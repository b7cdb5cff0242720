"""The inner loop of a dense CRF: read the messages, update the distribution, send it on, in one pass.

For each point the pass slices the blurred table, adds the unary term, takes the softmax over the classes and
splats the result into the table of the next iteration. A distribution lives in registers and one small row;
no array of all points' classes is read or written between the iterations, except for the unary term.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pixelwise.kernels.lattice import Lattice, add_to_rows, read_rows
from pixelwise.kernels.vectors import (
    add,
    broadcast,
    exponential,
    larger,
    largest,
    load,
    multiply,
    multiply_add,
    store,
    subtract,
    total,
)

_TOGETHER = 16  # points, whose classes stay in the nearest cache
_NONE = np.empty(0, np.float32)
EXCLUDED = np.float32(-1e30)  # the log-probability of a class that is only there to fill a vector


def mean_field(
    lattice: Lattice, log_probabilities: np.ndarray, compatibility: np.ndarray, iterations: int
) -> None:
    """Replace log-probabilities by the distribution that mean field inference arrives at.

    Parameters
    ----------
    lattice
        The sum of pairwise kernels between N points.
    log_probabilities
        N×W float32, contiguous; W is a multiple of 8, and :data:`EXCLUDED` fills what there is beyond the
        K classes. The distributions are written here.
    compatibility
        W float32: the reward for agreeing on each class. Or W×W float32: at [b, a] what a neighbour of class
        b adds to the logit of class a.
    iterations
        Updates after the first distribution, the softmax of the unary term alone.
    """
    width = log_probabilities.shape[1]
    unary = log_probabilities.reshape(-1)
    gain, mixing = (compatibility, _NONE) if compatibility.ndim == 1 else (_NONE, compatibility.reshape(-1))
    source = _NONE
    target = np.empty(lattice.length * width if iterations else 0, np.float32)
    spare = np.empty_like(target) if iterations > 1 else _NONE

    def update(start: int, stop: int) -> None:
        _update(source, unary, gain, mixing, width, lattice.rows, lattice.weights, start, stop, target)

    lattice.each_band(update)
    for iteration in range(iterations):
        lattice.blur(target, width)
        source, target, spare = target, spare if iteration + 1 < iterations else _NONE, target
        lattice.each_band(update)


@njit(cache=True, nogil=True, error_model="numpy")
def _update(source, unary, gain, mixing, width, rows, weights, start, stop, target):  # type: ignore[no-untyped-def]
    """One pass: from ``source`` (empty: no messages yet) to ``target`` (empty: write the distributions)."""
    corners, rows, weights = rows.shape[1], rows.ravel(), weights.ravel()
    # One point's update is a long chain of operations that wait for each other. Some points at a time, step
    # by step, several chains run at once.
    values, scratch = np.empty(_TOGETHER * width, np.float32), np.empty(_TOGETHER, np.float32)
    for first in range(start, stop, _TOGETHER):
        together = range(min(_TOGETHER, stop - first))
        for i in together:
            entry = (first + i) * corners
            if len(source) > 0:
                read_rows(source, width, rows, weights, entry, entry + corners, values, i * width)
                if len(mixing) == 0:
                    _add_gained(values, i * width, gain, width, unary, (first + i) * width)
                else:
                    _add_mixed(values, i * width, mixing, width, unary, (first + i) * width)
            else:
                for c in range(0, width, 8):
                    store(values, i * width + c, load(unary, (first + i) * width + c))
        _softmax(values, len(together), width, scratch)
        for i in together:
            if len(target) > 0:
                entry = (first + i) * corners
                add_to_rows(values, i * width, width, rows, weights, entry, entry + corners, target)
            else:
                for c in range(0, width, 8):
                    store(unary, (first + i) * width + c, load(values, i * width + c))


@njit(cache=True, nogil=True, forceinline=True)
def _add_gained(values, at, gain, width, unary, unary_at):  # type: ignore[no-untyped-def]
    """Turn a point's messages into logits: each times the gain of its class, plus the unary term."""
    for c in range(0, width, 8):
        logit = multiply_add(load(gain, c), load(values, at + c), load(unary, unary_at + c))
        store(values, at + c, logit)


@njit(cache=True, nogil=True)
def _add_mixed(values, at, mixing, width, unary, unary_at):  # type: ignore[no-untyped-def]
    """The same with a matrix between the classes."""
    messages = values[at : at + width].copy()
    for c in range(0, width, 8):
        logit = load(unary, unary_at + c)
        for other in range(width):
            logit = multiply_add(broadcast(messages[other]), load(mixing, other * width + c), logit)
        store(values, at + c, logit)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _softmax(values, count, width, scratch):  # type: ignore[no-untyped-def]
    """Of each of so many rows, in place; every loop does all rows, so that none waits for its own result."""
    for i in range(count):
        highest = load(values, i * width)
        for c in range(8, width, 8):
            highest = larger(highest, load(values, i * width + c))
        scratch[i] = largest(highest)
    for i in range(count):
        top, parts = broadcast(scratch[i]), broadcast(np.float32(0))
        for c in range(0, width, 8):
            part = exponential(subtract(load(values, i * width + c), top))
            store(values, i * width + c, part)
            parts = add(parts, part)
        scratch[i] = total(parts)
    for i in range(count):
        scale = broadcast(np.float32(1) / scratch[i])
        for c in range(0, width, 8):
            store(values, i * width + c, multiply(load(values, i * width + c), scale))
