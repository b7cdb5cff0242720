"""Instances of an image as the metrics take them: masks or boxes with labels, from whatever holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from pixelwise.errors import DataError, UsageError
from pixelwise.shapes import Bitmap

if TYPE_CHECKING:
    from pixelwise.kernels.spans import Spans

Kind = Literal["mask", "box", "boundary"]
KINDS = ("mask", "box", "boundary")


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """N things in one image, found ones or true ones.

    Attributes
    ----------
    labels
        N integer class ids 0..K-1.
    scores
        N numbers, higher is surer; of found ones only, and needed there.
    masks
        N×H×W bool or integers (zero is off), N arrays of H×W, N dicts of COCO's run lengths
        (``{"size": [H, W], "counts": text or list}``), or N :class:`pixelwise.shapes.Bitmap`.
    boxes
        N×4 (x0, y0, x1, y1) in pixels; used and needed where boxes are judged.
    crowd
        N booleans, of true ones only: it stands for many that were not told apart. It need not be found,
        any number of detections may match it, and they do not count.
    ignore
        N booleans, of true ones only: it need not be found, and the one detection that matches it does not
        count.
    areas
        N numbers, of true ones only: pixels that decide the area range; counted from the masks (or boxes)
        when None.
    """

    labels: Any
    scores: Any = None
    masks: Any = None
    boxes: Any = None
    crowd: Any = None
    ignore: Any = None
    areas: Any = None


class Packed(NamedTuple):
    """Instances of any number of images in plain arrays.

    Attributes
    ----------
    image
        N int64: the number of the image.
    labels
        N int64.
    scores
        N float64; of true ones zeros.
    crowd, excused
        N bool; of found ones False.
    areas
        N float64; nan where the mask decides, which may still have to be read.
    masks
        N masks, or their N texts of run lengths, which are read many at a time; None where boxes are judged.
    boxes
        N×4 float64 (x, y, width, height); None where masks are judged.
    """

    image: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    crowd: np.ndarray
    excused: np.ndarray
    areas: np.ndarray
    masks: Spans | list[str | bytes] | None
    boxes: np.ndarray | None


def pack(
    instances: Instances,
    found: bool,
    kind: Kind,
    num_classes: int,
    image: int,
    size: tuple[int, int] | None,
    where: str,
) -> tuple[Packed, tuple[int, int] | None]:
    """Check the instances of an image; returns them with the image's (height, width), if masks tell it.

    Parameters
    ----------
    instances
        N of them.
    found
        Whether they are found ones, which have scores, or true ones.
    kind
        What is judged.
    num_classes
        K.
    image
        The number of the image.
    size
        Its (height, width) where that is known.
    where
        Names the instances in messages.

    Raises
    ------
    DataError
        Something has another length, type, size or range than it should; names it.
    """
    if not isinstance(instances, Instances):
        raise UsageError(f"{where}: expected Instances(labels, ...), found {type(instances).__name__}")
    labels = _labels(instances.labels, num_classes, where)
    number = len(labels)
    masks, boxes = None, None
    if kind == "box":
        boxes = _boxes(instances.boxes, number, where)
        areas = boxes[:, 2] * boxes[:, 3]
    else:
        masks, size = _masks(instances.masks, number, size, where)
        areas = _filled(number, np.nan)
    if found:
        scores = _numbers(instances.scores, "scores", number, where)
        crowd = excused = np.zeros(number, bool)
    else:
        scores = np.zeros(number)
        crowd = _flags(instances.crowd, "crowd", number, where)
        excused = _flags(instances.ignore, "ignore", number, where)
        if instances.areas is not None:
            areas = _numbers(instances.areas, "areas", number, where)
    return Packed(_filled(number, image), labels, scores, crowd, excused, areas, masks, boxes), size


def join_packed(parts: Sequence[Packed], heights: np.ndarray, widths: np.ndarray) -> Packed:
    """All parts as one, with all masks read.

    Parameters
    ----------
    parts
        At least one.
    heights, widths
        int64, the sizes of all images by their numbers.

    Raises
    ------
    BadMaskError
        Run lengths are damaged, or do not fit their image.
    """
    *columns, masks, boxes = zip(*parts, strict=True)
    image, labels, scores, crowd, excused, areas = map(np.concatenate, columns)
    if boxes[0] is not None:
        return Packed(image, labels, scores, crowd, excused, areas, None, np.concatenate(boxes))
    spans = _read(masks, heights[image], widths[image])
    areas = np.where(np.isnan(areas), spans.area, areas)
    return Packed(image, labels, scores, crowd, excused, areas, spans, None)


def _read(parts: Sequence[Spans | list[str | bytes]], heights: np.ndarray, widths: np.ndarray) -> Spans:
    """One after another, the texts among them all at once."""
    from pixelwise.kernels.spans import BadMaskError, Spans, join_spans, spans_of_texts

    ready = [part for part in parts if isinstance(part, Spans)]
    if len(ready) == len(parts):
        return join_spans(ready)
    lengths = [part.number if isinstance(part, Spans) else len(part) for part in parts]
    as_text = np.repeat([not isinstance(part, Spans) for part in parts], lengths)
    texts = [text for part in parts if not isinstance(part, Spans) for text in part]
    own = np.flatnonzero(as_text)
    try:
        spans = spans_of_texts(texts, heights[own], widths[own])
    except BadMaskError as error:
        raise BadMaskError(int(own[error.index]), error.reason) from None
    if not ready:
        return spans
    back = np.argsort(np.concatenate([own, np.flatnonzero(~as_text)]))
    return join_spans([spans, *ready]).take(back)


def _filled(number: int, value: float) -> np.ndarray:
    # np.full takes several times as long for a few numbers, and there are many images.
    row = np.empty(number, type(value))
    row.fill(value)
    return row


def _labels(values: Any, num_classes: int, where: str) -> np.ndarray:
    labels = np.asarray(values)
    if labels.size == 0:
        return np.zeros(0, np.int64)
    if labels.dtype.kind not in "ui":
        raise DataError(f"{where}: labels must be integer class ids but are {labels.dtype}")
    if labels.ndim != 1:
        raise DataError(f"{where}: labels must be a row of N class ids, found the shape {labels.shape}")
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= num_classes:
        wrong = least if least < 0 else most
        raise DataError(f"{where}: holds class id {wrong}, expected 0..{num_classes - 1}")
    return labels.astype(np.int64)


def _numbers(values: Any, what: str, number: int, where: str) -> np.ndarray:
    if values is None:
        raise DataError(f"{where}: has no {what}, expected one for each of {number} instances")
    try:
        numbers = np.array(values, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where}: {what} must be numbers") from None
    if numbers.shape != (number,):
        raise DataError(f"{where}: {what} have the shape {numbers.shape}, but there are {number} labels")
    if not np.isfinite(numbers).all():
        i = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise DataError(f"{where}: {what} must be finite numbers, found {numbers[i]} at number {i}")
    return numbers


def _flags(values: Any, what: str, number: int, where: str) -> np.ndarray:
    if values is None:
        return np.zeros(number, bool)
    flags = np.array(values)
    if flags.shape != (number,) or (number and flags.dtype.kind not in "uib"):
        raise DataError(
            f"{where}: {what} must be {number} booleans, found {flags.dtype} of shape {flags.shape}"
        )
    return flags.astype(bool)


def _boxes(values: Any, number: int, where: str) -> np.ndarray:
    """N×4 float64 (x, y, width, height) from corners."""
    if values is None:
        raise DataError(f"{where}: has no boxes, expected N×4 (x0, y0, x1, y1)")
    try:
        corners = np.array(values, np.float64).reshape(-1, 4) if number else np.zeros((0, 4))
    except (TypeError, ValueError):
        corners = np.zeros((0, 0))
    if corners.shape != (number, 4):
        raise DataError(f"{where}: boxes must be {number}×4 numbers (x0, y0, x1, y1)")
    bad = ~(np.isfinite(corners).all(1) & (corners[:, 2:] >= corners[:, :2]).all(1))
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise DataError(f"{where}: box {i} is {corners[i].tolist()}, expected x0, y0, x1, y1 in this order")
    corners[:, 2:] -= corners[:, :2]
    return corners


def _masks(
    masks: Any, number: int, size: tuple[int, int] | None, where: str
) -> tuple[Spans | list[str | bytes], tuple[int, int] | None]:
    """The masks or their texts, and the (height, width) of their image."""
    from pixelwise.kernels.spans import BadMaskError, spans_of_pixels

    if masks is None:
        raise DataError(f"{where}: has no masks, expected one for each of {number} instances")
    if len(masks) != number:
        raise DataError(f"{where}: has {len(masks)} masks but {number} labels")
    if not number:
        return [], size
    first = masks[0]
    found: Spans | list[str | bytes]
    try:
        if isinstance(first, Mapping):
            found, own = _from_runs(masks, where)
        else:
            if isinstance(first, Bitmap):
                masks = _painted(masks, size, where)
            pixels = _pixels(masks, where)
            found, own = spans_of_pixels(pixels), (pixels.shape[1], pixels.shape[2])
    except BadMaskError as error:
        raise DataError(f"{where}: mask {error.index}: {error.reason}") from None
    if size is not None and own != tuple(size):
        raise DataError(
            f"{where}: masks of {own[1]}x{own[0]} pixels in an image of {size[1]}x{size[0]}: "
            "give all one size"
        )
    return found, own


def _from_runs(
    masks: Sequence[Mapping[str, Any]], where: str
) -> tuple[Spans | list[str | bytes], tuple[int, int]]:
    from pixelwise.kernels.spans import spans_of_runs

    try:
        sizes = [mask["size"] for mask in masks]
        counts = [mask["counts"] for mask in masks]
        height, width = map(int, sizes[0])
        same = sizes.count(sizes[0]) == len(sizes) or all(tuple(own) == (height, width) for own in sizes)
    except (KeyError, TypeError, ValueError):
        message = '{"size": [height, width], "counts": ...}'
        raise DataError(f"{where}: run lengths must come as {message}") from None
    if not same:
        raise DataError(f"{where}: the sizes of its run lengths differ")
    if set(map(type, counts)) <= {str, bytes}:
        return counts, (height, width)
    runs = []
    for i, own in enumerate(counts):
        if isinstance(own, str | bytes):
            raise DataError(f"{where}: mask {i} has its run lengths as text and others as lists")
        lengths = np.asarray(own)
        if lengths.ndim != 1 or (lengths.size and lengths.dtype.kind not in "ui"):
            raise DataError(f"{where}: mask {i}: counts must be whole numbers or text")
        runs.append(lengths.astype(np.int64))
    ones = np.ones(len(masks), np.int64)
    return spans_of_runs(runs, height * ones, width * ones), (height, width)


def _painted(bitmaps: Sequence[Bitmap], size: tuple[int, int] | None, where: str) -> np.ndarray:
    from pixelwise.data.raster import rasterise

    if size is None:
        raise UsageError(f"{where}: bitmaps do not tell the image they are in: give size=(height, width)")
    return np.stack([rasterise(bitmap, *size) for bitmap in bitmaps])


def _pixels(masks: Any, where: str) -> np.ndarray:
    """N×H×W bool or uint8."""
    try:
        pixels = np.asarray(masks)
    except ValueError:
        raise DataError(f"{where}: the sizes of its masks differ") from None
    if pixels.ndim != 3:
        raise DataError(f"{where}: masks must be N×H×W, found the shape {pixels.shape}")
    if pixels.dtype.kind not in "uib":
        raise DataError(
            f"{where}: masks must be bool or integers but are {pixels.dtype}; apply a threshold first"
        )
    return pixels if pixels.dtype in (np.bool_, np.uint8) else pixels != 0
