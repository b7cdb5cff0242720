"""Two of COCO's files, truths and detections, as arrays for the metrics, read column by column.

Source: https://cocodataset.org/#format-data and #format-results. This reader keeps what the protocol of
evaluation needs and reads it in bulk; :mod:`pixelwise.data.formats.coco` is the one for training data.
Outlines are drawn as the COCO API draws them, since the numbers are to be compared with others'.

Records that pycocotools passes over without a word (categories or images that are not listed) are left out as
well, and reported. A ring of fewer than three corners is left out; pycocotools takes one of four numbers for
a box.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from pixelwise.errors import DataError, Problem
from pixelwise.io.documents import read_json
from pixelwise.kernels.coco_outline import spans_of_outlines
from pixelwise.kernels.spans import BadMaskError, Spans, join_spans, spans_of_runs, spans_of_texts
from pixelwise.metrics.instances import Kind, Packed

_Record = dict[str, Any]
_TEXT, _RUNS, _RINGS = range(3)  # how a mask is given
_WAYS = {str: _TEXT, type(None): _RINGS}


class Results(NamedTuple):
    """What two files say.

    Attributes
    ----------
    names
        Names of the classes, in the order of their ids in the file.
    images, sizes
        Ids of the images, and their (height, width).
    true, found
        Truths and detections.
    problems
        What was left out.
    """

    names: tuple[str, ...]
    images: tuple[Any, ...]
    sizes: list[tuple[int, int]]
    true: Packed
    found: Packed
    problems: tuple[Problem, ...]


class _Images(NamedTuple):
    ids: tuple[Any, ...]
    number: dict[Any, int]
    sizes: list[tuple[int, int]]


def read_results(truth: Path, detections: Path, kind: Kind) -> Results:
    """Read truths and detections.

    Parameters
    ----------
    truth
        A JSON file with ``images``, ``annotations`` and ``categories``.
    detections
        A JSON file with a list of results, or with ``annotations`` that have scores.
    kind
        What is judged: masks are read for ``"mask"`` and ``"boundary"``, boxes for ``"box"``.

    Raises
    ------
    DataError
        A file or a record of it is not what it should be.
    """
    with _COLLECTOR.resting():
        return _read(truth, detections, kind)


class _Collector:
    """Python's search for cycles, which JSON cannot have: among so many records it takes half of the time."""

    def __init__(self) -> None:
        self.lock, self.readers, self.was_on = Lock(), 0, True

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Without it until the last one of several threads is done."""
        with self.lock:
            if not self.readers:
                self.was_on = gc.isenabled()
                gc.disable()
            self.readers += 1
        try:
            yield
        finally:
            with self.lock:
                self.readers -= 1
                if not self.readers and self.was_on:
                    gc.enable()


_COLLECTOR = _Collector()


def _read(truth: Path, detections: Path, kind: Kind) -> Results:
    document = read_json(truth)
    if not isinstance(document, dict) or not isinstance(document.get("annotations"), list):
        raise DataError(f"{truth}: expected COCO's 'images', 'annotations' and 'categories'")
    images = _read_images(document.get("images"), truth)
    names, classes = _read_categories(document.get("categories"), truth)
    results = read_json(detections)
    if isinstance(results, dict):
        results = results.get("annotations")
    if not isinstance(results, list):
        raise DataError(f"{detections}: expected a list of results with image_id, category_id and score")
    problems: list[Problem] = []
    true = _Reader(truth, document["annotations"], "annotation", images, classes, kind, problems)
    found = _Reader(detections, results, "result", images, classes, kind, problems)
    return Results(
        names, images.ids, images.sizes, true.read_truths(), found.read_detections(), tuple(problems)
    )


def _read_images(records: Any, path: Path) -> _Images:
    if not isinstance(records, list) or not records:
        raise DataError(f"{path}: lists no images; expected COCO's 'images' with id, height and width")
    try:
        ids = tuple(record["id"] for record in records)
        number = {ident: i for i, ident in enumerate(ids)}
    except (KeyError, TypeError):
        raise DataError(f"{path}: an image of the list has no id") from None
    if len(number) < len(ids):
        raise DataError(f"{path}: two images have the same id; export it again")
    if len({type(ident) for ident in ids}) > 1 or not isinstance(ids[0], int | str):
        raise DataError(f"{path}: ids of images must be all numbers or all text")
    sides = [[record.get(side) or 0 for record in records] for side in ("height", "width")]
    if not set(map(type, chain.from_iterable(sides))) <= {int} or min(map(min, sides)) < 0:
        raise DataError(f"{path}: the height or width of an image is no whole number")
    return _Images(ids, number, list(zip(*sides, strict=True)))


def _read_categories(records: Any, path: Path) -> tuple[tuple[str, ...], dict[Any, int]]:
    if not isinstance(records, list) or not records:
        raise DataError(f"{path}: lists no categories; expected COCO's 'categories' with id and name")
    try:
        names = {record["id"]: str(record.get("name", record["id"])) for record in records}
        ordered = sorted(names)
    except (KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: ids of categories must be all numbers or all text, one for each") from None
    return tuple(names[ident] for ident in ordered), {ident: k for k, ident in enumerate(ordered)}


class _Reader:
    """The records of one file."""

    def __init__(
        self,
        path: Path,
        records: list[_Record],
        what: str,
        images: _Images,
        classes: dict[Any, int],
        kind: Kind,
        problems: list[Problem],
    ) -> None:
        self.path, self.records, self.what = path, records, what
        self.images, self.classes, self.kind, self.problems = images, classes, kind, problems

    def read_truths(self) -> Packed:
        """Truths; those of images or categories that are not listed are left out."""
        labels, image = self._known(strict_images=False)
        number = len(self.records)
        crowd = np.array([bool(record.get("iscrowd")) for record in self.records], bool)
        spans, boxes, areas = self._geometry(image)
        given = [record.get("area") for record in self.records]
        if None not in given:
            areas = self._numbers(given, "area")
        else:
            for i, area in enumerate(given):
                areas[i] = areas[i] if area is None else self._numbers([area], "area", i)[0]
        nothing = np.zeros(number)
        return Packed(image, labels, nothing, crowd, nothing.astype(bool), areas, spans, boxes)

    def read_detections(self) -> Packed:
        """Detections; those of categories that are not listed are left out."""
        labels, image = self._known(strict_images=True)
        scores = self._numbers(self._column("score"), "score")
        spans, boxes, areas = self._geometry(image)
        nothing = np.zeros(len(self.records), bool)
        return Packed(image, labels, scores, nothing, nothing, areas, spans, boxes)

    def _known(self, strict_images: bool) -> tuple[np.ndarray, np.ndarray]:
        """Class and image numbers of the records that are kept."""
        wrong = [i for i, record in enumerate(self.records) if not isinstance(record, dict)]
        if wrong:
            raise DataError(
                f"{self._place(wrong[0])}: expected an object, found {type(self.records[wrong[0]]).__name__}"
            )
        labels = self._looked_up("category_id", self.classes)
        images = self._looked_up("image_id", self.images.number)
        if strict_images and None in images:
            i = images.index(None)
            raise DataError(
                f"{self._place(i)}: image_id {self.records[i]['image_id']} is none of the images in the truth"
            )
        for name, column in (("category_id", labels), ("image_id", images)):
            if None in column:
                lost = [i for i, value in enumerate(column) if value is None]
                places = tuple(f"{self._place(i)}: {name} {self.records[i][name]}" for i in lost)
                thing = "categories" if name == "category_id" else "images"
                message = f"{self.what}s of {thing} that the truth does not list, left out"
                self.problems.append(Problem("warning", f"unknown_{name}", message, files=places))
        if None in labels or None in images:
            kept = [i for i in range(len(labels)) if labels[i] is not None and images[i] is not None]
            self.records = [self.records[i] for i in kept]
            labels, images = [labels[i] for i in kept], [images[i] for i in kept]
        return np.array(labels, np.int64), np.array(images, np.int64)

    def _looked_up(self, name: str, known: dict[Any, int]) -> list[Any]:
        try:
            return list(map(known.get, self._column(name)))
        except TypeError:  # a list or an object for an id
            raise DataError(f"{self.path}: a {name} is neither a number nor text") from None

    def _column(self, name: str) -> list[Any]:
        try:
            return [record[name] for record in self.records]
        except KeyError:
            i = next(i for i, record in enumerate(self.records) if name not in record)
            raise DataError(f"{self._place(i)}: has no {name}") from None

    def _numbers(self, column: list[Any], name: str, first: int = 0) -> np.ndarray:
        if set(map(type, column)) <= {int, float}:
            try:
                numbers = np.array(column, np.float64)
            except OverflowError:
                numbers = np.full(len(column), np.inf)
            if np.isfinite(numbers).all():
                return numbers
        for i, value in enumerate(column, first):
            if type(value) not in (int, float) or not abs(value) < 1e300:
                raise DataError(f"{self._place(i)}: {name} should be a number, found {str(value)[:40]}")
        raise AssertionError("unreachable")

    def _geometry(self, image: np.ndarray) -> tuple[Spans | None, np.ndarray | None, np.ndarray]:
        """Masks or boxes, whichever is judged, and areas."""
        if self.kind != "box":
            spans = self._masks(range(len(self.records)), image)
            return spans, None, spans.area.astype(np.float64)
        boxes = np.zeros((len(self.records), 4))
        areas = np.zeros(len(self.records))
        given = [i for i, record in enumerate(self.records) if record.get("bbox")]
        boxes[given] = self._boxes(given)
        areas[given] = boxes[given, 2] * boxes[given, 3]
        rest = sorted(set(range(len(self.records))) - set(given))
        if rest:
            spans = self._masks(rest, image)
            x0, y0, x1, y1 = spans.boxes.T
            boxes[rest] = np.stack([x0, y0, x1 - x0, y1 - y0], 1)
            areas[rest] = spans.area
        return None, boxes, areas

    def _boxes(self, chosen: Sequence[int]) -> np.ndarray:
        column = [self.records[i]["bbox"] for i in chosen]
        try:
            plain = set(map(type, chain.from_iterable(column))) <= {int, float}
            if plain and set(map(len, column)) <= {4}:
                boxes = np.array(column, np.float64).reshape(-1, 4)
                if (abs(boxes) < 1e300).all() and (boxes[:, 2:] >= 0).all():
                    return boxes
        except (TypeError, ValueError, OverflowError):
            pass
        for i, box in zip(chosen, column, strict=True):
            numbers = self._list(box, i, "bbox")
            if len(numbers) != 4 or (numbers[2:] < 0).any():
                raise DataError(
                    f"{self._place(i)}: bbox should be x, y, width, height, found {str(box)[:60]}"
                )
        raise AssertionError("unreachable")

    def _list(self, value: Any, i: int, name: str) -> np.ndarray:
        if not isinstance(value, list):
            raise DataError(f"{self._place(i)}: {name} should be a list of numbers, found {str(value)[:40]}")
        return self._numbers_of(value, i, name)

    def _numbers_of(self, value: list[Any], i: int, name: str) -> np.ndarray:
        if not set(map(type, value)) <= {int, float} or not all(abs(number) < 1e300 for number in value):
            raise DataError(f"{self._place(i)}: {name} should hold numbers, found {str(value)[:60]}")
        return np.array(value, np.float64)

    def _masks(self, chosen: Sequence[int], image: np.ndarray) -> Spans:
        """Masks of the chosen records, however they are given."""
        given = [self.records[i].get("segmentation") for i in chosen]
        counts = [
            outline["counts"] if type(outline) is dict and "counts" in outline else None for outline in given
        ]
        ways = np.array([_WAYS.get(type(own), _RUNS) for own in counts], np.int8)
        parts, order = [], []
        for way in (_TEXT, _RUNS, _RINGS):
            numbers = np.flatnonzero(ways == way).tolist()
            if numbers:
                own = [chosen[n] for n in numbers]
                parts.append(self._masks_of_one_way(way, [given[n] for n in numbers], own, image[own]))
                order += numbers
        spans = join_spans(parts)
        return spans if len(parts) < 2 else spans.take(np.argsort(order))

    def _masks_of_one_way(self, way: int, outlines: list[Any], own: list[int], image: np.ndarray) -> Spans:
        sizes = [self.images.sizes[i] for i in image.tolist()]
        heights, widths = np.array(sizes, np.int64).T.copy()
        try:
            if way == _RINGS:
                return self._outlines(outlines, own, heights, widths)
            self._check_sizes(outlines, own, image)
            counts = [outline["counts"] for outline in outlines]
            if way == _TEXT:
                return spans_of_texts(counts, heights, widths)
            runs = [self._runs(lengths, i) for lengths, i in zip(counts, own, strict=True)]
            return spans_of_runs(runs, heights, widths)
        except BadMaskError as error:
            raise DataError(f"{self._place(own[error.index])}: {error.reason}") from None

    def _runs(self, counts: Any, i: int) -> np.ndarray:
        runs = self._list(counts, i, "counts")
        if (runs != np.floor(runs)).any() or (runs < 0).any():
            raise DataError(f"{self._place(i)}: counts should be whole numbers, found {str(counts)[:40]}")
        return np.minimum(runs, 2.0**40).astype(np.int64)

    def _check_sizes(self, outlines: list[_Record], own: list[int], image: np.ndarray) -> None:
        of_images = [list(size) for size in self.images.sizes]
        expected = [of_images[i] for i in image.tolist()]
        found = [outline.get("size") for outline in outlines]
        if found == expected:
            return
        i, sides, size = next(row for row in zip(own, found, expected, strict=True) if row[1] != row[2])
        raise DataError(
            f"{self._place(i)}: expected run lengths of the size of the image, {size}, "
            f"found the size {str(sides)[:40]}"
        )

    def _outlines(
        self, outlines: list[Any], own: list[int], heights: np.ndarray, widths: np.ndarray
    ) -> Spans:
        rings: list[list[float]] = []
        mask_end, short = [], []
        for outline, i in zip(outlines, own, strict=True):
            if not outline:
                outline = [self._corners(i)]
            if not isinstance(outline, list):
                raise DataError(f"{self._place(i)}: segmentation should be a list or run lengths")
            for ring in outline if isinstance(outline[0], list) else [outline]:
                if not isinstance(ring, list) or len(ring) % 2:
                    raise DataError(f"{self._place(i)}: an outline should be a list of x, y, x, y, ...")
                if len(ring) < 6:
                    short.append(self._place(i))
                else:
                    rings.append(ring)
            mask_end.append(len(rings))
        if short:
            message = "rings with fewer than 3 corners, left out"
            self.problems.append(Problem("warning", "small_ring", message, files=tuple(short)))
        vertices = self._vertices(rings, mask_end, own)
        ring_end = np.cumsum([len(ring) // 2 for ring in rings], dtype=np.int64)
        return spans_of_outlines(vertices, ring_end, np.array(mask_end, np.int64), heights, widths)

    def _vertices(self, rings: list[list[float]], mask_end: list[int], own: list[int]) -> np.ndarray:
        if set(map(type, chain.from_iterable(rings))) <= {int, float}:
            try:
                vertices = np.fromiter(chain.from_iterable(rings), np.float64).reshape(-1, 2)
            except OverflowError:
                vertices = np.full((1, 2), np.nan)
            if np.isfinite(vertices).all():
                return vertices
        for r, ring in enumerate(rings):
            self._numbers_of(ring, own[int(np.searchsorted(mask_end, r, side="right"))], "segmentation")
        raise AssertionError("unreachable")

    def _corners(self, i: int) -> list[float]:
        """The outline of a record that has only a box."""
        if not self.records[i].get("bbox"):
            raise DataError(f"{self._place(i)}: has neither segmentation nor bbox")
        x, y, width, height = self._boxes([i])[0].tolist()
        return [x, y, x, y + height, x + width, y + height, x + width, y]

    def _place(self, i: int) -> str:
        record = self.records[i]
        ident = record.get("id") if isinstance(record, dict) else None
        return f"{self.path}: {self.what} {f'number {i + 1}' if ident is None else ident}"
