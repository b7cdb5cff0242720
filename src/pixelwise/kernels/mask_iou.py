"""Overlaps of detections with truths, and COCO's matching of one to the other, class by class.

Masks are compared by their stretches (:mod:`pixelwise.kernels.spans`). Only overlaps that can reach the
lowest threshold are computed: box and areas bound the intersection from above, and most pairs end there.

Matching and the precision-recall curve of a class run in one kernel for all thresholds, area ranges and
limits, a class to a thread. Only true positives raise the recall, so only they are kept of a curve: between
two of them precision falls, and the envelope of the curve never needs it.

Source of the rules: github.com/cocodataset/cocoapi, ``PythonAPI/pycocotools/cocoeval.py``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numba
import numpy as np

from pixelwise.kernels.spans import Spans, erode_spans, in_threads

_TINY = np.spacing(1.0)
_SURE = 1 - 1e-10  # a threshold of 1 is met by an overlap that rounding has left just below
_SLACK = 1e-9  # bounds are rounded too


class Groups(NamedTuple):
    """Detections and truths of one class in one image, G times, classes in order and images within.

    Attributes
    ----------
    of_class
        K+1 int64: where the groups of each class begin.
    found, true
        G+1 int64: where the detections and the truths of each group begin.
    cells
        G+1 int64: where its overlaps begin, a row for each detection.
    """

    of_class: np.ndarray
    found: np.ndarray
    true: np.ndarray
    cells: np.ndarray


class Tables(NamedTuple):
    """COCO's tables for T thresholds, R recalls, K classes, A area ranges and M limits; nan where undefined.

    Attributes
    ----------
    precision, scores
        T×R×K×A×M float64: the best precision at this recall or a higher one, and the score it is had at.
    recall
        T×K×A×M float64.
    """

    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray


def mask_overlaps(groups: Groups, found: Spans, true: Spans, crowd: np.ndarray, least: float) -> np.ndarray:
    """IoU of every pair in a group; of a crowd, the share of the detection that lies in it.

    Parameters
    ----------
    groups
        G groups.
    found, true
        Masks of D detections and of N truths, in the order of the groups.
    crowd
        N bool.
    least
        Overlaps that are lower may come out as 0.

    Returns
    -------
    float64, as ``groups.cells`` says.
    """
    overlaps = np.zeros(int(groups.cells[-1]))
    in_threads(
        lambda low, high: _mask_overlaps(
            groups.found, groups.true, groups.cells, *found, *true, crowd, least, low, high, overlaps
        ),
        len(groups.found) - 1,
    )
    return overlaps


def box_overlaps(groups: Groups, found: np.ndarray, true: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """As :func:`mask_overlaps` for D×4 and N×4 float64 boxes (x, y, width, height)."""
    overlaps = np.zeros(int(groups.cells[-1]))
    _box_overlaps(groups.found, groups.true, groups.cells, found, true, crowd, overlaps)
    return overlaps


def boundary_overlaps(
    groups: Groups,
    found: Spans,
    true: Spans,
    crowd: np.ndarray,
    least: float,
    found_size: tuple[np.ndarray, np.ndarray],
    true_size: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """The lesser one of the IoU of two masks and the IoU of their boundaries; crowds by their masks.

    A boundary is what an erosion takes off, so the erosions tell all sizes, and boundaries need not be made.

    Parameters
    ----------
    groups, found, true, crowd, least
        As in :func:`mask_overlaps`.
    found_size, true_size
        Height of the image and width of the boundary, both int64, for each mask.
    """
    overlaps = mask_overlaps(groups, found, true, crowd, least)
    found_wanted, true_wanted = np.zeros(found.number, np.bool_), np.zeros(true.number, np.bool_)
    _mark_wanted(groups.found, groups.true, groups.cells, overlaps, crowd, least, found_wanted, true_wanted)
    found_inner = erode_spans(found, found_wanted, *found_size)
    true_inner = erode_spans(true, true_wanted, *true_size)
    in_threads(
        lambda low, high: _boundary_overlaps(
            groups.found, groups.true, groups.cells, *found[:4], *true[:4], *found_inner[:4], *true_inner[:4],
            crowd, least, low, high, overlaps,
        ),
        len(groups.found) - 1,
    )  # fmt: skip
    return overlaps


def match_classes(
    groups: Groups,
    overlaps: np.ndarray,
    crowd: np.ndarray,
    excused: np.ndarray,
    true_area: np.ndarray,
    found_area: np.ndarray,
    found_score: np.ndarray,
    rank: np.ndarray,
    place: np.ndarray,
    thresholds: np.ndarray,
    areas: np.ndarray,
    limits: np.ndarray,
    recalls: np.ndarray,
) -> Tables:
    """Match detections to truths and read off the curves.

    Parameters
    ----------
    groups, overlaps
        Of G groups, D detections and N truths; in a group the detections come by falling score.
    crowd, excused
        N bool: truths that any number of detections may match, and those that need not be found.
    true_area, found_area
        N and D float64 pixels.
    found_score
        D float64.
    rank
        D int64: the place of a detection within its group.
    place
        D int64: its place within its class, by falling score.
    thresholds, areas, limits, recalls
        T overlaps, A×2 areas (both ends count), M int64 numbers of detections in an image, R recalls.
    """
    shape = (len(thresholds), len(recalls), len(groups.of_class) - 1, len(areas), len(limits))
    precision, scores = np.full(shape, np.nan), np.full(shape, np.nan)
    recall = np.full(shape[:1] + shape[2:], np.nan)

    def match(k: int) -> None:
        _match_class(
            k, *groups, overlaps, crowd, excused, true_area, found_area, found_score, rank, place,
            thresholds, areas, limits, recalls, precision, recall, scores,
        )  # fmt: skip

    with ThreadPoolExecutor(max(1, cv2.getNumThreads())) as pool:
        list(pool.map(match, range(shape[2])))
    return Tables(precision, recall, scores)


@numba.njit(cache=True, nogil=True)
def _mask_overlaps(  # type: ignore[no-untyped-def]
    group_found, group_true, cells,
    found_edges, found_begin, found_end, found_area, found_boxes,
    true_edges, true_begin, true_end, true_area, true_boxes,
    crowd, least, low, high, overlaps,
):  # fmt: skip
    for group in range(low, high):
        cell = cells[group]
        for d in range(group_found[group], group_found[group + 1]):
            for t in range(group_true[group], group_true[group + 1]):
                a, b = found_boxes[d], true_boxes[t]
                width = np.int64(min(a[2], b[2]) - max(a[0], b[0]))
                height = np.int64(min(a[3], b[3]) - max(a[1], b[1]))
                if width > 0 and height > 0:
                    both = min(width * height, found_area[d], true_area[t])
                    if _share(both, found_area[d], true_area[t], crowd[t]) >= least - _SLACK:
                        both = _intersection(
                            found_edges, found_begin[d], found_end[d], true_edges, true_begin[t], true_end[t]
                        )
                        overlaps[cell] = _share(both, found_area[d], true_area[t], crowd[t])
                cell += 1


@numba.njit(cache=True, nogil=True, inline="always")
def _share(both, found, true, crowd):  # type: ignore[no-untyped-def]
    return both / (found if crowd else found + true - both)


@numba.njit(cache=True, nogil=True)
def _intersection(one, i, one_end, other, j, other_end):  # type: ignore[no-untyped-def]
    """Pixels that two masks share."""
    both = np.int64(0)
    while i < one_end and j < other_end:
        first, last = max(one[i], other[j]), min(one[i + 1], other[j + 1])
        both += max(last - first, 0)
        if one[i + 1] < other[j + 1]:
            i += 2
        else:
            j += 2
    return both


@numba.njit(cache=True, nogil=True)
def _box_overlaps(group_found, group_true, cells, found, true, crowd, overlaps):  # type: ignore[no-untyped-def]
    for group in range(len(cells) - 1):
        cell = cells[group]
        for d in range(group_found[group], group_found[group + 1]):
            for t in range(group_true[group], group_true[group + 1]):
                a, b = found[d], true[t]
                width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
                height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
                if width > 0 and height > 0:
                    overlaps[cell] = _share(width * height, a[2] * a[3], b[2] * b[3], crowd[t])
                cell += 1


@numba.njit(cache=True, nogil=True)
def _mark_wanted(  # type: ignore[no-untyped-def]
    group_found, group_true, cells, overlaps, crowd, least, found_wanted, true_wanted
):
    """Masks whose boundary decides something."""
    for group in range(len(cells) - 1):
        cell = cells[group]
        for d in range(group_found[group], group_found[group + 1]):
            for t in range(group_true[group], group_true[group + 1]):
                if overlaps[cell] >= least and not crowd[t]:
                    found_wanted[d] = true_wanted[t] = True
                cell += 1


@numba.njit(cache=True, nogil=True)
def _boundary_overlaps(  # type: ignore[no-untyped-def]
    group_found, group_true, cells,
    found_edges, found_begin, found_end, found_area,
    true_edges, true_begin, true_end, true_area,
    found_inner, found_inner_begin, found_inner_end, found_inner_area,
    true_inner, true_inner_begin, true_inner_end, true_inner_area,
    crowd, least, low, high, overlaps,
):  # fmt: skip
    for group in range(low, high):
        cell = cells[group]
        for d in range(group_found[group], group_found[group + 1]):
            for t in range(group_true[group], group_true[group + 1]):
                if overlaps[cell] >= least and not crowd[t]:
                    # Boundaries share what the masks share, less what is inner to either of them.
                    both = _intersection(
                        found_edges, found_begin[d], found_end[d], true_edges, true_begin[t], true_end[t]
                    ) + _intersection(
                        found_inner, found_inner_begin[d], found_inner_end[d],
                        true_inner, true_inner_begin[t], true_inner_end[t],
                    ) - _intersection(
                        found_inner, found_inner_begin[d], found_inner_end[d],
                        true_edges, true_begin[t], true_end[t],
                    ) - _intersection(
                        found_edges, found_begin[d], found_end[d],
                        true_inner, true_inner_begin[t], true_inner_end[t],
                    )  # fmt: skip
                    found_rim = found_area[d] - found_inner_area[d]
                    true_rim = true_area[t] - true_inner_area[t]
                    overlaps[cell] = min(overlaps[cell], both / (found_rim + true_rim - both))
                cell += 1


@numba.njit(cache=True, nogil=True)
def _match_class(  # type: ignore[no-untyped-def]
    k, of_class, group_found, group_true, cells, overlaps, crowd, excused, true_area, found_area, found_score,
    rank, place, thresholds, areas, limits, recalls, precision, recall, scores,
):  # fmt: skip
    first, last = of_class[k], of_class[k + 1]
    zero, end = group_found[first], group_found[last]
    zero_true, end_true = group_true[first], group_true[last]
    number = end - zero
    ranks, ordered_scores = np.empty(number, np.int64), np.empty(number)
    for d in range(zero, end):
        ranks[place[d]] = rank[d]
        ordered_scores[place[d]] = found_score[d]
    deepest = ranks.max() if number else 0
    candidates = _candidates(first, last, group_found, group_true, cells, overlaps, thresholds[0])
    verdicts, unmatched = np.empty(number, np.int8), np.empty(number, np.int8)
    taken, aside = np.empty(end_true - zero_true, np.bool_), np.empty(end_true - zero_true, np.bool_)
    for a in range(len(areas)):
        positives = 0
        for t in range(zero_true, end_true):
            outside = true_area[t] < areas[a, 0] or true_area[t] > areas[a, 1]
            aside[t - zero_true] = excused[t] or crowd[t] or outside
            positives += not aside[t - zero_true]
        if positives == 0:
            continue
        for d in range(zero, end):
            unmatched[place[d]] = -1 if areas[a, 0] <= found_area[d] <= areas[a, 1] else 0
        for h in range(len(thresholds)):
            least = min(thresholds[h], _SURE)
            taken[:] = False
            verdicts[:] = unmatched
            for i in range(len(candidates)):
                d, group = candidates[i]
                low, high = group_true[group], group_true[group + 1]
                cell = cells[group] + (d - group_found[group]) * (high - low)
                match = _best(cell - low, low, high, zero_true, overlaps, least, crowd, taken, aside)
                if match >= 0:
                    taken[match - zero_true] = True
                    verdicts[place[d]] = 0 if aside[match - zero_true] else 1
            for m in range(len(limits) - 1, -1, -1):
                if m < len(limits) - 1 and deepest < limits[m]:  # this limit and the next one cut off nothing
                    precision[h, :, k, a, m] = precision[h, :, k, a, m + 1]
                    scores[h, :, k, a, m] = scores[h, :, k, a, m + 1]
                    recall[h, k, a, m] = recall[h, k, a, m + 1]
                    continue
                recall[h, k, a, m] = _read_curve(
                    verdicts, ranks, limits[m], ordered_scores, positives, recalls,
                    precision[h, :, k, a, m], scores[h, :, k, a, m],
                )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _candidates(first, last, group_found, group_true, cells, overlaps, least):  # type: ignore[no-untyped-def]
    """(detection, group) of those that can match anything at all."""
    found = np.empty((group_found[last] - group_found[first], 2), np.int64)
    count = 0
    for group in range(first, last):
        width = group_true[group + 1] - group_true[group]
        cell = cells[group]
        for d in range(group_found[group], group_found[group + 1]):
            for t in range(width):
                if overlaps[cell + t] >= min(least, _SURE):
                    found[count] = (d, group)
                    count += 1
                    break
            cell += width
    return found[:count]


@numba.njit(cache=True, nogil=True)
def _best(  # type: ignore[no-untyped-def]
    shift, low, high, zero, overlaps, least, crowd, taken, aside
):
    """The truth of low..high that matches: the last of the best, excused ones if no other; or -1."""
    match = -1
    for wanted in (False, True):
        best = least
        for t in range(low, high):
            free = crowd[t] or not taken[t - zero]
            if free and overlaps[shift + t] >= best and aside[t - zero] == wanted:
                best = overlaps[shift + t]
                match = t
        if match >= 0:
            break
    return match


@numba.njit(cache=True, nogil=True)
def _read_curve(  # type: ignore[no-untyped-def]
    verdicts, ranks, limit, found_score, positives, recalls, precision, scores
):
    """Precision and score at each recall, 0 where it is not reached; returns the highest recall.

    ``verdicts`` are 1 for true, -1 for false and 0 for excused detections, by falling score.
    """
    precision[:] = 0
    scores[:] = 0
    heights, at_score = np.empty(len(verdicts)), np.empty(len(verdicts))
    right, wrong, begun = 0, 0, False
    best_score = 0.0
    for d in range(len(verdicts)):
        if ranks[d] >= limit:
            continue
        if not begun:
            begun, best_score = True, found_score[d]
        if verdicts[d] > 0:
            at_score[right] = found_score[d]
            right += 1
            heights[right - 1] = right / (wrong + right + _TINY)
        elif verdicts[d] < 0:
            wrong += 1
    for i in range(right - 2, -1, -1):
        heights[i] = max(heights[i], heights[i + 1])
    i = 0
    for r in range(len(recalls)):
        if recalls[r] <= 0:  # reached before anything is found
            precision[r] = heights[0] if right else 0.0
            scores[r] = best_score
            continue
        while i < right and (i + 1) / positives < recalls[r]:
            i += 1
        if i == right:
            break
        precision[r], scores[r] = heights[i], at_score[i]
    return right / positives
