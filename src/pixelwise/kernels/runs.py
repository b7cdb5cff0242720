"""Run lengths of masks, column by column as COCO has them, and their compressed text.

Source: the COCO API (github.com/cocodataset/cocoapi, ``common/maskApi.c``): runs alternate between off and
on and start with off. In text, each length from the fourth on is the difference to the last but one, in
groups of five bits, the lowest first, each stored as the character of its value plus 48.
"""

from __future__ import annotations

import numba
import numpy as np

from pixelwise.errors import DataError


def encode_runs(mask: np.ndarray) -> np.ndarray:
    """H×W pixels (zero is off) to R uint32 run lengths, column by column, starting with off.

    >>> encode_runs(np.array([[0, 1], [1, 1]], np.uint8)).tolist()
    [1, 3]
    """
    if mask.dtype == bool:
        mask = mask.view(np.uint8)
    columns = mask.T if mask.T.flags.c_contiguous else np.ascontiguousarray(mask.T)
    pixels = columns.reshape(-1)
    if pixels.dtype != np.uint8:
        pixels = (pixels != 0).view(np.uint8)
    return _encode(pixels, pixels[: len(pixels) // 8 * 8].view(np.uint64))


def decode_runs(runs: np.ndarray, height: int, width: int) -> np.ndarray:
    """Run lengths to H×W uint8 of 0 and 1 (in Fortran order); what the runs do not reach is off.

    Raises
    ------
    DataError
        The runs are longer than the window has pixels.

    Examples
    --------
    >>> decode_runs(np.array([1, 3]), 2, 2).tolist()
    [[0, 1], [1, 1]]
    """
    runs = np.ascontiguousarray(runs, np.int64)
    total = int(runs.sum())
    if total > height * width or (len(runs) and int(runs.min()) < 0):
        raise DataError(f"run lengths of {total} pixels do not fit a window of {width}x{height}")
    return _decode(runs, height * width).reshape(width, height).T


def runs_to_text(runs: np.ndarray) -> str:
    """COCO's compressed ``counts``.

    >>> runs_to_text(np.array([1, 3]))
    '13'
    """
    return _write_text(np.ascontiguousarray(runs, np.int64)).tobytes().decode("ascii")


def text_to_runs(text: str | bytes) -> np.ndarray:
    """The run lengths of COCO's compressed ``counts``.

    Raises
    ------
    DataError
        It holds a character that the code does not use, ends in the middle of a number or has a negative
        length.

    Examples
    --------
    >>> text_to_runs("13").tolist()
    [1, 3]
    """
    try:
        coded = np.frombuffer(text.encode("ascii") if isinstance(text, str) else text, np.uint8)
    except UnicodeEncodeError as error:
        raise DataError(f"the compressed run lengths are damaged at character {error.start + 1}") from None
    runs, bad = _read_text(coded)
    if bad >= 0:
        raise DataError(f"the compressed run lengths are damaged at character {bad + 1}")
    return runs


@numba.njit(cache=True, nogil=True)
def _encode(pixels, words):  # type: ignore[no-untyped-def]
    """``words`` are the same pixels, eight at a time: most lie inside a run and are stepped over whole."""
    off, ones, full = np.uint64(0), np.uint64(0x0101010101010101), np.uint64(0xFFFFFFFFFFFFFFFF)
    runs = np.empty(256, np.uint32)
    count, start, at = 0, 0, 0
    last = False
    while at < len(pixels):
        if at & 7 == 0:
            word = at >> 3
            if last:
                while word < len(words) and (words[word] == ones or words[word] == full):
                    word += 1
            else:
                while word < len(words) and words[word] == off:
                    word += 1
            at = word << 3
        end = min((at | 7) + 1, len(pixels))
        while at < end:
            on = pixels[at] != 0
            if on != last:
                if count == len(runs):
                    longer = np.empty(2 * count, np.uint32)
                    longer[:count] = runs
                    runs = longer
                runs[count] = at - start
                count += 1
                start = at
                last = on
            at += 1
    longer = np.empty(count + 1, np.uint32)
    longer[:count] = runs[:count]
    longer[count] = at - start
    return longer


@numba.njit(cache=True, nogil=True)
def _decode(runs, size):  # type: ignore[no-untyped-def]
    pixels = np.zeros(size, np.uint8)
    position = 0
    for i in range(len(runs)):
        if i & 1:
            pixels[position : position + runs[i]] = 1
        position += runs[i]
    return pixels


@numba.njit(cache=True, nogil=True)
def _write_text(runs):  # type: ignore[no-untyped-def]
    text = np.empty(8 * len(runs), np.uint8)
    size = 0
    for i in range(len(runs)):
        rest = runs[i] if i <= 2 else runs[i] - runs[i - 2]
        more = True
        while more:
            bits = rest & 31
            rest >>= 5
            more = rest != -1 if bits & 16 else rest != 0
            text[size] = 48 + (bits | 32 if more else bits)
            size += 1
    return text[:size]


@numba.njit(cache=True, nogil=True)
def _read_text(text):  # type: ignore[no-untyped-def]
    """The runs, and the position of the first character that cannot be, or -1."""
    runs = np.empty(len(text), np.int64)
    count, value, shift = 0, np.int64(0), 0
    for i in range(len(text)):
        bits = np.int64(text[i]) - 48
        if bits < 0 or bits > 63 or shift > 30:
            return runs[:count], i
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value |= np.int64(-1) << shift
            if count > 2:
                value += runs[count - 2]
            if value < 0:
                return runs[:count], i
            runs[count] = value
            count += 1
            value, shift = np.int64(0), 0
    return runs[:count], -1 if shift == 0 else len(text) - 1
