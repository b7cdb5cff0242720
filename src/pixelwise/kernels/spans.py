"""Many masks as stretches of on pixels: read from run lengths, pixels or text, measured, and eroded.

A stretch is (first, one past the last) of the positions ``column * height + row``, the order that COCO's run
lengths follow, so that a mask of 300,000 pixels is some hundred numbers and everything below reads only
those. Within a column no two stretches touch; one may run on into the next column.

Sources: the COCO API for the run lengths (github.com/cocodataset/cocoapi, ``common/maskApi.c``), whose text
code :mod:`pixelwise.kernels.runs` describes; here the texts of all masks are read in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

import cv2
import numba
import numpy as np

from pixelwise.errors import DataError

LARGEST = 2**31 - 1  # pixels of a mask: positions are int32
_MASKS_WORTH_A_THREAD = 512


class BadMaskError(DataError):
    """A mask that cannot be read: its number from 0, and the reason, for whoever knows its name."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"mask {index}: {reason}")
        self.index, self.reason = index, reason


class Spans(NamedTuple):
    """N masks.

    Attributes
    ----------
    edges
        E int32: first, end, first, end, ... of the stretches; a mask's own lie together, with gaps between
        masks where that was quicker to write.
    begin, end
        N int64: where each mask's stretches are in ``edges``.
    area
        N int64 pixels.
    boxes
        N×4 int32 (x0, y0, x1, y1), half-open; zeros for an empty mask.
    """

    edges: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    area: np.ndarray
    boxes: np.ndarray

    @property
    def number(self) -> int:
        """N."""
        return self.begin.size

    def take(self, order: np.ndarray) -> Spans:
        """The masks of these numbers; the stretches themselves stay where they are."""
        return Spans(self.edges, *(column[order] for column in self[1:]))


def spans_of_texts(texts: Sequence[str | bytes], heights: np.ndarray, widths: np.ndarray) -> Spans:
    """Masks from COCO's compressed ``counts``.

    Parameters
    ----------
    texts
        N texts.
    heights, widths
        N int64, the size of each mask.

    Raises
    ------
    BadMaskError
        A text is damaged or does not fit its size.

    Examples
    --------
    >>> spans_of_texts(["13"], np.array([2]), np.array([2])).edges.tolist()
    [1, 4]
    """
    _refuse_giants(heights, widths)
    first = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(list(map(len, texts)), out=first[1:])
    coded = np.frombuffer(_joined(texts), np.uint8)
    edges = np.empty(coded.size, np.int32)
    spans, bad = _empty(edges, first[:-1].copy()), np.zeros(len(texts), np.int64)

    def read(low: int, high: int) -> None:
        _texts_to_spans(coded, first, low, high, *spans, heights, widths, bad)

    in_threads(read, len(texts))
    _refuse_bad(bad, heights, widths)
    return spans


def spans_of_runs(runs: Sequence[np.ndarray], heights: np.ndarray, widths: np.ndarray) -> Spans:
    """Masks from run lengths, alternately off and on and starting with off; else BadMaskError.

    >>> spans_of_runs([np.array([1, 3])], np.array([2]), np.array([2])).area.tolist()
    [3]
    """
    _refuse_giants(heights, widths)
    lengths = np.array([len(own) for own in runs], np.int64)
    wide = np.concatenate([np.asarray(own, np.int64) for own in runs]) if runs else np.zeros(0, np.int64)
    edges = np.clip(wide, -1, LARGEST).astype(np.int32)
    end = np.cumsum(lengths)
    spans, bad = _empty(edges, end - lengths), np.zeros(len(runs), np.int64)
    _runs_to_spans(lengths, *spans, heights, widths, bad)
    _refuse_bad(bad, heights, widths)
    return spans


def spans_of_pixels(masks: np.ndarray) -> Spans:
    """Masks from N×H×W pixels, bool or uint8, zero is off.

    >>> spans_of_pixels(np.array([[[0, 1], [1, 1]]], np.uint8)).boxes.tolist()
    [[0, 0, 2, 2]]
    """
    number, height, width = masks.shape
    _refuse_giants(np.array([height]), np.array([width]))
    pixels = np.ascontiguousarray(masks)
    pixels = pixels.view(np.uint8) if pixels.dtype == bool else pixels
    starts = np.zeros((number, width), np.int64)  # of stretches, by column
    area, boxes = np.zeros(number, np.int64), np.zeros((number, 4), np.int32)
    in_threads(lambda low, high: _measure(pixels, low, high, starts, area, boxes), number, each=8)
    end = 2 * np.cumsum(starts.sum(1))
    begin = end - 2 * starts.sum(1)
    edges = np.empty(int(end[-1]) if number else 0, np.int32)
    in_threads(lambda low, high: _fill_spans(pixels, low, high, starts, boxes, begin, edges), number, each=8)
    return Spans(edges, begin, end, area, boxes)


def spans_of_stretches(edges: np.ndarray, end: np.ndarray, heights: np.ndarray) -> Spans:
    """Masks from their stretches (as in :class:`Spans`, without gaps), with area and box counted."""
    begin = np.concatenate([np.zeros(1, np.int64), end])[: len(end)]
    spans = Spans(edges, begin, end, np.zeros(len(end), np.int64), np.zeros((len(end), 4), np.int32))
    _count(*spans, heights)
    return spans


def join_spans(parts: Sequence[Spans]) -> Spans:
    """The masks of all parts, one after another."""
    if not parts:
        return _empty(np.zeros(0, np.int32), np.zeros(0, np.int64))
    if len(parts) == 1:
        return parts[0]
    sizes = np.array([part.edges.size for part in parts], np.int64)
    shifts = np.repeat(np.cumsum(sizes) - sizes, [part.number for part in parts])
    edges, begin, end, area, boxes = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Spans(edges, begin + shifts, end + shifts, area, boxes)


def erode_spans(spans: Spans, wanted: np.ndarray, heights: np.ndarray, radius: np.ndarray) -> Spans:
    """What is left of masks after taking off every pixel within ``radius`` of one that is off.

    "Within" is meant as a square: as many rows and as many columns away. Pixels outside the image are off.
    The rows come off by shortening the stretches of each column, the columns by counting, row by row, how
    many columns in succession are still on; nothing outside a mask's box is looked at.

    Parameters
    ----------
    spans
        N masks.
    wanted
        N bool; the others come out empty and take no time.
    heights
        N int64, the height of each mask's image.
    radius
        N int64 pixels.

    Examples
    --------
    >>> block = spans_of_pixels(np.ones((1, 3, 3), np.uint8))
    >>> erode_spans(block, np.array([True]), np.array([3]), np.array([1])).edges.tolist()
    [4, 5]
    """
    parts: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def work(low: int, high: int) -> None:
        parts[low] = _erode(
            spans.edges, spans.begin, spans.end, spans.boxes, wanted, heights, radius, low, high
        )

    in_threads(work, spans.number)
    ordered = [parts[low] for low in sorted(parts)]
    edges = np.concatenate([part[0] for part in ordered] or [np.zeros(0, np.int32)])
    counts = np.concatenate([part[1] for part in ordered] or [np.zeros(0, np.int64)])
    return spans_of_stretches(edges, np.cumsum(counts), heights)


def in_threads(work: Callable[[int, int], None], total: int, each: int = _MASKS_WORTH_A_THREAD) -> None:
    """``work(low, high)`` over 0..total in parts, on several threads where there are ``each`` for one."""
    # As many threads as OpenCV may use: it heeds affinity, container limits and cv2.setNumThreads.
    threads = min(cv2.getNumThreads(), total // each)
    if threads <= 1:
        work(0, total)
        return
    cuts = np.linspace(0, total, 4 * threads + 1).astype(int).tolist()  # several each, for they differ
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, cuts[:-1], cuts[1:]))


def _empty(edges: np.ndarray, begin: np.ndarray) -> Spans:
    number = len(begin)
    return Spans(edges, begin, begin.copy(), np.zeros(number, np.int64), np.zeros((number, 4), np.int32))


def _joined(texts: Sequence[str | bytes]) -> bytes:
    try:
        return "".join(cast(Sequence[str], texts)).encode("ascii")
    except TypeError:  # some are bytes
        return _joined([text if isinstance(text, str) else text.decode("latin-1") for text in texts])
    except UnicodeEncodeError:
        i = next(i for i, text in enumerate(texts) if not text.isascii())
        place = next(n for n, character in enumerate(texts[i], 1) if ord(str(character)) > 127)
        raise BadMaskError(i, f"the compressed run lengths are damaged at character {place}") from None


def _refuse_giants(heights: np.ndarray, widths: np.ndarray) -> None:
    for i in np.flatnonzero(heights * widths > LARGEST)[:1].tolist():
        raise BadMaskError(
            i, f"an image of {widths[i]}x{heights[i]} pixels; the limit is {LARGEST:,}, so tile it"
        )


def _refuse_bad(bad: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> None:
    for i in np.flatnonzero(bad)[:1].tolist():
        if bad[i] > 0:
            raise BadMaskError(i, f"the compressed run lengths are damaged at character {bad[i]}")
        raise BadMaskError(i, f"the run lengths do not fit an image of {widths[i]}x{heights[i]}")


@numba.njit(cache=True, nogil=True)
def _texts_to_spans(  # type: ignore[no-untyped-def]
    coded, first, low, high, edges, begin, end, area, boxes, heights, widths, bad
):
    """Stretches of masks low..high; the runs are written first, and no more of them than characters."""
    for mask in range(low, high):
        runs, bad[mask] = _read_text(coded[first[mask] : first[mask + 1]], edges[begin[mask] :])
        if not bad[mask]:
            _to_spans(mask, runs, edges, begin, end, area, boxes, heights, widths, bad)


@numba.njit(cache=True, nogil=True)
def _runs_to_spans(  # type: ignore[no-untyped-def]
    lengths, edges, begin, end, area, boxes, heights, widths, bad
):
    """Stretches of all masks, whose runs are in ``edges`` already."""
    for mask in range(len(lengths)):
        _to_spans(mask, lengths[mask], edges, begin, end, area, boxes, heights, widths, bad)


@numba.njit(cache=True, nogil=True)
def _read_text(coded, runs):  # type: ignore[no-untyped-def]
    """How many run lengths there are, and the number of the first character that cannot be (0: none)."""
    count, i = 0, 0
    before, before_that = np.int64(0), np.int64(0)  # the last two lengths
    while i < len(coded):
        bits = np.int64(coded[i]) - 48
        i += 1
        if 0 <= bits < 32:  # most lengths differ little from the last but one: one character
            value = (bits ^ 16) - 16
        else:
            value, shift = np.int64(0), 0
            while 32 <= bits < 64 and shift <= 25 and i < len(coded):
                value |= (bits & 31) << shift
                shift += 5
                bits = np.int64(coded[i]) - 48
                i += 1
            if bits < 0 or bits >= 32:
                return count, i
            value |= ((bits ^ 16) - 16) << shift
        if count > 2:
            value += before_that
        if value < 0 or value > LARGEST:
            return count, i
        runs[count] = value
        count += 1
        before_that, before = before, value
    return count, 0


@numba.njit(cache=True, nogil=True)
def _to_spans(mask, runs, edges, begin, end, area, boxes, heights, widths, bad):  # type: ignore[no-untyped-def]
    """Turn the run lengths of a mask into stretches in place: as two make one, none is lost."""
    height, limit = heights[mask], heights[mask] * widths[mask]
    write, start = begin[mask], begin[mask]
    position, next_column = np.int64(0), height
    pixels, left, top, bottom = np.int64(0), np.int64(0), height, np.int64(0)
    for i in range(start, start + runs):
        run = np.int64(edges[i])
        if run < 0 or position + run > limit:
            bad[mask] = -1
            return
        if (i - start) & 1 and run > 0:
            if position >= next_column:
                next_column += height
                if position >= next_column:  # a division costs more than all the rest
                    next_column = (position // height + 1) * height
            top = min(top, position + height - next_column)
            if position + run > next_column:  # on into the next column
                top, bottom = np.int64(0), height
            bottom = max(bottom, position + run + height - next_column)
            if write > start and edges[write - 1] == position:
                write -= 2  # nothing lay between: go on with the last one
            else:
                edges[write] = position
            if write == start:
                left = next_column // height - 1
            edges[write + 1] = position + run
            write += 2
            pixels += run
        position += run
    end[mask], area[mask] = write, pixels
    if write > start:
        boxes[mask] = (left, top, (edges[write - 1] - 1) // height + 1, min(bottom, height))


@numba.njit(cache=True, nogil=True)
def _count(edges, begin, end, area, boxes, heights):  # type: ignore[no-untyped-def]
    """Area and box of all masks."""
    for mask in range(len(begin)):
        if begin[mask] == end[mask]:
            continue
        height = heights[mask]
        top, bottom = height, np.int64(0)
        for i in range(begin[mask], end[mask], 2):
            area[mask] += edges[i + 1] - edges[i]
            y0 = edges[i] % height
            y1 = y0 + edges[i + 1] - edges[i]
            if y1 > height:  # on into the next column
                y0, y1 = np.int64(0), height
            top, bottom = min(top, y0), max(bottom, y1)
        left, right = edges[begin[mask]] // height, (edges[end[mask] - 1] - 1) // height
        boxes[mask] = (left, top, right + 1, bottom)


@numba.njit(cache=True, nogil=True)
def _measure(pixels, low, high, starts, area, boxes):  # type: ignore[no-untyped-def]
    """Stretches of each column, area and box of masks low..high."""
    height, width = pixels.shape[1:]
    for mask in range(low, high):
        left, top, right, bottom = width, height, 0, 0
        for y in range(height):
            row = pixels[mask, y]
            used = np.uint8(0)
            for x in range(width):
                used |= row[x]
            if not used:
                continue
            top, bottom = min(top, y), y + 1
            first, last = 0, width - 1
            while not row[first]:
                first += 1
            while not row[last]:
                last -= 1
            left, right = min(left, first), max(right, last + 1)
            for x in range(first, last + 1):
                on = row[x] != 0
                area[mask] += on
                starts[mask, x] += on and not (y > 0 and pixels[mask, y - 1, x])
        if right:
            boxes[mask] = (left, top, right, bottom)


@numba.njit(cache=True, nogil=True)
def _fill_spans(pixels, low, high, starts, boxes, begin, edges):  # type: ignore[no-untyped-def]
    """Write the stretches of masks low..high row by row, each into the place of its column."""
    height = pixels.shape[1]
    for mask in range(low, high):
        left, top, right, bottom = boxes[mask]
        place = np.empty(right - left, np.int64)
        position = begin[mask]
        for x in range(left, right):
            place[x - left] = position
            position += 2 * starts[mask, x]
        for y in range(top, bottom + 1):
            for x in range(left, right):
                on = y < bottom and pixels[mask, y, x] != 0
                before = y > top and pixels[mask, y - 1, x] != 0
                if on and not before:
                    edges[place[x - left]] = x * height + y
                elif before and not on:
                    edges[place[x - left] + 1] = x * height + y
                    place[x - left] += 2


@numba.njit(cache=True, nogil=True)
def _erode(  # type: ignore[no-untyped-def]
    edges, begin, end, boxes, wanted, heights, radius, low, high
):
    """Stretches of the eroded masks low..high, and how many edges each has."""
    counts = np.zeros(high - low, np.int64)
    out = np.empty(1024, np.int32)
    size = 0
    for mask in range(low, high):
        depth, height = radius[mask], heights[mask]
        left, top, right, bottom = boxes[mask]
        if not wanted[mask] or min(right - left, bottom - top) <= 2 * depth:
            continue
        start = size
        height_of_box = bottom - top
        columns = np.zeros(height_of_box, np.int32)  # by row: the columns in succession that are still on
        i = begin[mask]
        for x in range(left, right):
            zero = x * height + top  # the position of the box's first row
            while i < end[mask] and edges[i + 1] <= zero:
                i += 2
            while len(out) < size + height_of_box + 1:
                out = np.concatenate((out, np.empty(len(out), np.int32)))
            handled = 0
            j = i
            while j < end[mask] and edges[j] < zero + height_of_box:
                # A stretch that reaches a border of the image may run on into the next column.
                first = max(edges[j] - zero, 0) + depth
                last = min(edges[j + 1] - zero, height_of_box) - depth
                if first < last:
                    columns[handled:first] = 0
                    columns[first:last] += 1
                    if x - left >= 2 * depth:
                        size = _write_long(
                            columns, first, last, 2 * depth + 1, zero - depth * height, out, size
                        )
                    handled = last
                j += 2
            columns[handled:] = 0
        counts[mask - low] = size - start
    return out[:size].copy(), counts


@numba.njit(cache=True, nogil=True)
def _write_long(columns, first, last, enough, zero, out, size):  # type: ignore[no-untyped-def]
    """Append the stretches of rows first..last that have been on for enough columns; the new size."""
    on = False
    for y in range(first, last):
        if (columns[y] >= enough) != on:
            out[size] = zero + y
            size += 1
            on = not on
    if on:
        out[size] = zero + last
        size += 1
    return size
