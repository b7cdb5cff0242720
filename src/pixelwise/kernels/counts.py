"""Joint counts of predicted and true class ids: the integers under every dataset-level metric.

Two loops. Pairs of uint8 arrays are read as 64-bit words, eight pixels at a time, into a joint 256x256
histogram without any range check (a byte cannot leave it); the classes are cut out afterwards and whatever
lies outside is reported. A word whose eight pixels agree, as most do in real masks, is counted at once,
which also spares equal neighbours from waiting for each other's store. Every other integer type takes a
plain loop with a range check for each pixel.
"""

from __future__ import annotations

import numba
import numpy as np

from pixelwise.errors import DataError

_ROW = 264  # 256 columns and a cache line: rows 2,048 bytes apart would share a few cache sets
_ONES = np.uint64(0x0101010101010101)
_BYTE = np.uint64(255)


def confusion_counts(
    prediction: np.ndarray,
    target: np.ndarray,
    num_classes: int,
    ignore_index: int = 255,
    target_classes: int | None = None,
) -> np.ndarray:
    """Count the pixels of every pair (true class, predicted class).

    Parameters
    ----------
    prediction, target
        Class ids of the same size, of any integer type and memory order.
    num_classes
        K: predictions are 0..K-1 wherever the target is not ignored.
    ignore_index
        Target id of the pixels that do not count; may lie outside the type's range.
    target_classes
        T: targets are 0..T-1, when the target follows another label map; K when None.

    Returns
    -------
    T×K int64, rows by target and columns by prediction.

    Raises
    ------
    DataError
        An id is out of range.

    Examples
    --------
    >>> confusion_counts(np.array([0, 1, 1]), np.array([0, 1, 255]), 2)
    array([[1, 0],
           [0, 1]])
    """
    rows = num_classes if target_classes is None else target_classes
    flat_prediction, flat_target = _flat(prediction), _flat(target)
    if flat_prediction.dtype == flat_target.dtype == np.uint8 and max(rows, num_classes) <= 256:
        return _byte_counts(flat_prediction, flat_target, rows, num_classes, ignore_index)
    counts, offender = _checked_counts(flat_prediction, flat_target, rows, num_classes, ignore_index)
    if offender >= 0:
        value = int(flat_target[offender])
        if not 0 <= value < rows:
            raise _out_of_range("target", value, rows, ignore_index)
        raise _out_of_range("prediction", int(flat_prediction[offender]), num_classes)
    return counts


def _byte_counts(
    prediction: np.ndarray, target: np.ndarray, rows: int, columns: int, ignore_index: int
) -> np.ndarray:
    joint = _joint_histogram(prediction, target, _words(prediction), _words(target))
    if 0 <= ignore_index <= 255:
        joint[ignore_index] = 0
    wrong_targets = np.flatnonzero(joint[rows:].any(axis=1))
    wrong_predictions = np.flatnonzero(joint[:, columns:].any(axis=0))
    if len(wrong_targets):
        raise _out_of_range("target", rows + int(wrong_targets[0]), rows, ignore_index)
    if len(wrong_predictions):
        raise _out_of_range("prediction", columns + int(wrong_predictions[0]), columns)
    return joint[:rows, :columns].copy()


def _flat(ids: np.ndarray) -> np.ndarray:
    """One row of native integers; copied only when it must be."""
    flat = np.ascontiguousarray(ids).reshape(-1)
    if flat.dtype == np.bool_:
        return flat.view(np.uint8)
    return flat.astype(flat.dtype.newbyteorder("="), copy=False)


def _words(flat: np.ndarray) -> np.ndarray:
    """The 64-bit words of a byte array, without the last ``size % 8`` bytes; copied only when unaligned."""
    return np.require(flat[: flat.size // 8 * 8].view(np.uint64), requirements="A")


def _out_of_range(what: str, value: int, classes: int, ignore_index: int | None = None) -> DataError:
    ignored = "" if ignore_index is None else f" (or {ignore_index} where there is no label)"
    return DataError(f"the {what} holds class id {value}, expected 0..{classes - 1}{ignored}")


@numba.njit(cache=True, nogil=True)
def _joint_histogram(  # type: ignore[no-untyped-def]  # numba infers the types
    prediction, target, prediction_words, target_words
):
    """256×256 counts by (target, prediction) of two byte arrays and their 64-bit words."""
    counts = np.zeros(256 * _ROW, np.int64)
    for i in range(target_words.size):
        t, p = target_words[i], prediction_words[i]
        if t == (t & _BYTE) * _ONES and p == (p & _BYTE) * _ONES:
            counts[_cell(t & _BYTE, p & _BYTE)] += 8
            continue
        for j in range(8 * i, 8 * i + 8):
            counts[_cell(target[j], prediction[j])] += 1
    for i in range(8 * target_words.size, target.size):
        counts[_cell(target[i], prediction[i])] += 1
    return counts.reshape(256, _ROW)[:, :256]


@numba.njit(cache=True, nogil=True, inline="always")
def _cell(target, prediction):  # type: ignore[no-untyped-def]
    return np.intp(target) * _ROW + np.intp(prediction)


@numba.njit(cache=True, nogil=True)
def _checked_counts(  # type: ignore[no-untyped-def]
    prediction, target, rows, columns, ignore_index
):
    """rows×columns int64 counts, and the position of the first pixel out of range (-1: none)."""
    counts = np.zeros((rows, columns), np.int64)
    for i in range(target.size):
        t, p = np.int64(target[i]), np.int64(prediction[i])
        if t == ignore_index:
            continue
        if t < 0 or t >= rows or p < 0 or p >= columns:
            return counts, i
        counts[t, p] += 1
    return counts, -1
