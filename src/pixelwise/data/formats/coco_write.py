"""Writing COCO's JSON of instances; what the format is, :mod:`pixelwise.data.formats.coco` tells."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.data.adapt import Holds
from pixelwise.data.annotations import (
    BACKGROUND_NAMES,
    IGNORED,
    AnnotatedImage,
    Document,
)
from pixelwise.data.geometry import as_pixels
from pixelwise.data.raster import bounds, rasterise
from pixelwise.io import write_text
from pixelwise.kernels.runs import encode_runs, runs_to_text
from pixelwise.labels import LabelMap
from pixelwise.shapes import Bitmap, Box, Geometry, Polygon, Ring, Shape, Vertices

HOLDS = Holds(
    kinds=frozenset({"polygon", "bitmap", "box"}),
    parts=True,
    groups=True,
    tracks=True,
    crowds=True,
    occlusion=True,
    scores=True,
    attributes=True,
    ignored=True,
    splits=True,
)
"""Groups become one annotation of several rings; tracks and occlusion are kept as CVAT has them."""


def tidy_name(name: str) -> str:
    """COCO takes any relative path."""
    return name


def image_path(image: AnnotatedImage) -> str:
    """``images/{split}/{name}``, or ``images/{name}`` without splits."""
    return f"images/{image.split}/{image.name}" if image.split else f"images/{image.name}"


def save(document: Document, path: Path, labels: LabelMap) -> None:
    """Write ``annotations/instances_{split}.json`` for each split (``default`` without splits)."""
    used = {shape.label for image in document.images for shape in image.shapes}
    named = [name for name in labels.names if name in used or name.lower() not in BACKGROUND_NAMES]
    names = [*named, *sorted(used - set(named) - {IGNORED}), *([IGNORED] if IGNORED in used else [])]
    categories = {name: number for number, name in enumerate(names, 1)}
    by_split: dict[str, list[tuple[int, AnnotatedImage]]] = defaultdict(list)
    for number, image in enumerate(document.images, 1):
        by_split[image.split or "default"].append((number, image))
    next_id = 1
    for split, images in by_split.items():
        records = []
        for number, image in images:
            for shape in merge_groups(image.shapes, (image.height, image.width)):
                records.append({"id": next_id, "image_id": number} | _describe(shape, image, categories))
                next_id += 1
        lists = {
            "categories": [{"id": i, "name": name, "supercategory": ""} for name, i in categories.items()],
            "images": [
                {"id": number, "file_name": image.name, "width": image.width, "height": image.height}
                for number, image in images
            ],
            "annotations": records,
        }
        write_text(path / "annotations" / f"instances_{split}.json", "".join(_lines(lists)))


def _lines(lists: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """One record a line, so that versions of a file can be compared."""
    yield '{"info": {}, "licenses": []'
    for name, records in lists.items():
        yield f',\n"{name}": ['
        for position, record in enumerate(records):
            yield ("," if position else "") + "\n" + json.dumps(record, ensure_ascii=False, allow_nan=False)
        yield "\n]"
    yield "\n}\n"


def merge_groups(shapes: Sequence[Shape], size: tuple[int, int]) -> list[Shape]:
    """One shape for each group, in the place of its first one: polygons together, all else as pixels.

    >>> square = [(0, 0), (1, 0), (1, 1)]
    >>> pair = [Shape("car", Polygon.of(square), group=4), Shape("car", Polygon.of(square), group=4)]
    >>> [len(shape.geometry.rings) for shape in merge_groups(pair, (9, 9))]
    [2]
    """
    groups: dict[tuple[str, int], list[Shape]] = defaultdict(list)
    for shape in shapes:
        if shape.group is not None:
            groups[shape.label, shape.group].append(shape)
    merged = []
    for shape in shapes:
        members = groups.get((shape.label, shape.group)) if shape.group is not None else [shape]
        if members and members[0] is shape:
            merged.append(shape if len(members) == 1 else replace(shape, geometry=_union(members, size)))
    return merged


def _union(shapes: Sequence[Shape], size: tuple[int, int]) -> Geometry:
    polygons = [shape.geometry for shape in shapes if isinstance(shape.geometry, Polygon)]
    if len(polygons) == len(shapes):
        return Polygon(tuple(ring for polygon in polygons for ring in polygon.rings))
    covered = np.zeros(size, bool)
    for shape in shapes:
        covered |= rasterise(shape.geometry, *size)
    return Bitmap(0, 0, *size, encode_runs(covered))


def _describe(shape: Shape, image: AnnotatedImage, categories: Mapping[str, int]) -> dict[str, Any]:
    geometry, size = shape.geometry, (image.height, image.width)
    if shape.crowd and not isinstance(geometry, Bitmap):
        geometry = as_pixels(geometry, *size)
    segmentation: Any = []
    if isinstance(geometry, Box):
        box = [geometry.x0, geometry.y0, geometry.x1 - geometry.x0, geometry.y1 - geometry.y0]
        area: float = box[2] * box[3]
    elif isinstance(geometry, Polygon):
        segmentation = [ring.exterior.ravel().tolist() for ring in geometry.rings]
        area, box = _extent(geometry, *size)
    else:
        pixels = rasterise(geometry, *size)
        segmentation = {"size": list(size), "counts": runs_to_text(encode_runs(pixels))}
        area, box = _measure(pixels, 0, 0)
    record = {
        "category_id": categories[shape.label],
        "segmentation": segmentation,
        "bbox": box,
        "area": area,
        "iscrowd": int(shape.crowd),
    }
    if shape.score is not None:
        record["score"] = shape.score
    extras = dict(shape.attributes)
    extras |= {"occluded": True} if shape.occluded else {}
    extras |= {"track_id": shape.track} if shape.track is not None else {}
    return record | ({"attributes": extras} if extras else {})


def _extent(polygon: Polygon, height: int, width: int) -> tuple[int, list[float]]:
    """Area and box of the pixels of a polygon, found within its window of the image."""
    x0, y0, x1, y1 = bounds(polygon)
    left, top = max(int(np.floor(x0)), 0), max(int(np.floor(y0)), 0)
    right, bottom = min(int(np.ceil(x1)), width), min(int(np.ceil(y1)), height)
    if left >= right or top >= bottom:
        return 0, [x0, y0, x1 - x0, y1 - y0]
    window = Polygon(tuple(Ring(_moved(ring.exterior, left, top)) for ring in polygon.rings))
    area, box = _measure(rasterise(window, bottom - top, right - left), left, top)
    return area, box if area else [x0, y0, x1 - x0, y1 - y0]


def _moved(ring: Vertices, left: int, top: int) -> Vertices:
    return ring - (left, top)


def _measure(pixels: np.ndarray, left: int, top: int) -> tuple[int, list[float]]:
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(rows):
        return 0, [0, 0, 0, 0]
    x, y = int(columns[0]), int(rows[0])
    box: list[float] = [left + x, top + y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]
    return int(np.count_nonzero(pixels)), box
