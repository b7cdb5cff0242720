"""Predictions as polygons: every connected region of every class, in memory or as one COCO file.

Pixels are connected at their sides (4-connected), as :mod:`pixelwise.kernels.outline` traces them. The COCO
format is documented at cocodataset.org/#format-data; regions with holes are run lengths there, because its
polygons know no holes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pixelwise.data.annotations import BACKGROUND_NAMES
from pixelwise.data.geometry import trace
from pixelwise.data.raster import rasterise
from pixelwise.errors import DataError, UsageError
from pixelwise.inference.pipeline import read_ahead
from pixelwise.io import atomic_write, image_size, read_mask
from pixelwise.kernels.runs import encode_runs, runs_to_text
from pixelwise.labels import LabelMap
from pixelwise.shapes import Polygon


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Pixels of one class that hang together.

    Attributes
    ----------
    class_id, name
        The class.
    polygon
        One outline with its holes, in pixels of the corner convention: (0, 0) is the image's corner.
    area
        How many pixels the region has, whatever the outline's tolerance.
    box
        (x, y, width, height) in pixels: the smallest rectangle that holds those pixels.
    score
        The mean probability of the class over those pixels; None without probabilities.
    """

    class_id: int
    name: str
    polygon: Polygon
    area: int
    box: tuple[int, int, int, int]
    score: float | None = None


def find_regions(
    mask: np.ndarray,
    labels: LabelMap,
    probabilities: np.ndarray | None = None,
    *,
    tolerance: float = 1.0,
    min_area: int = 1,
    background: bool = False,
) -> list[Region]:
    """The connected regions of a mask, class by class, each class from top to bottom.

    Ignored pixels belong to no region. Neither does a class that is called background (whatever its id): it
    is what is left over, and a polygon around everything else is rarely wanted.

    Parameters
    ----------
    mask
        H×W class ids, or K×H×W of 0/1 (multilabel), where regions of several classes may overlap.
    labels
        The K classes.
    probabilities
        K×H×W, or 1×H×W of class 1 when there are two classes.
    tolerance
        How many pixels outlines may deviate to save corners; 0 follows the pixels exactly. Neighbours are
        simplified one by one, so above 0 they may overlap or leave gaps of that size.
    min_area
        Smaller regions (in pixels) are left out.
    background
        Keep the class called background.

    Raises
    ------
    UsageError
        ``tolerance`` is negative.
    DataError
        The mask holds an id that is no class.

    Examples
    --------
    >>> mask = np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0]], np.uint8)
    >>> for region in find_regions(mask, LabelMap(("background", "car"))):
    ...     print(region.name, region.area, region.box)
    car 3 (1, 0, 2, 2)
    car 1 (0, 2, 1, 1)
    """
    if not tolerance >= 0:
        raise UsageError(f"the tolerance of outlines must be at least 0 pixels, not {tolerance:g}")
    regions = []
    for class_id, pixels in _class_pixels(mask, labels):
        name = labels.names[class_id]
        if name.lower() in BACKGROUND_NAMES and not background:
            continue
        count, parts, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=4)
        left, top, width, height, area = stats.T.tolist()
        plane = None if probabilities is None else _plane(probabilities, class_id)
        kept = (n for n in range(1, count) if area[n] >= min_area)
        for n in sorted(kept, key=lambda n: (top[n], left[n])):
            window = np.s_[top[n] : top[n] + height[n], left[n] : left[n] + width[n]]
            part = parts[window] == n
            polygon = trace(part, (left[n], top[n]), tolerance)
            score = None if plane is None else float(plane[window][part].mean(dtype=np.float64))
            box = (left[n], top[n], width[n], height[n])
            regions.append(Region(class_id, name, polygon, area[n], box, score))
    return regions


def write_coco_predictions(
    images: Mapping[Path, Path],
    labels: LabelMap,
    target: Path,
    tolerance: float = 1.0,
    *,
    min_area: int = 1,
    probabilities: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the regions of masks on disk as one COCO file, atomically, and return how many there are.

    The masks are read one after another, so memory does not grow with their number, and it does not matter
    which run has written them. Images and regions are numbered from 1. So are the categories, background
    left out, as the writer of data sets in COCO's format numbers them.

    Parameters
    ----------
    images
        From the path of each image to that of its mask. ``file_name`` becomes the mask's path below the
        folder of ``target`` with the image's suffix, which is the image's path below what was predicted.
    labels
        The classes of the masks.
    target
        The JSON file.
    tolerance, min_area
        As for :func:`find_regions`.
    probabilities
        Give every region a score, from ``STEM.npz`` beside its mask (``probabilities``, K×H×W).
    progress
        Called with (images done, images in all).

    Raises
    ------
    DataError
        A mask is missing, damaged or not of these classes, or its probabilities are; nothing is written.
    PixelwiseError
        The file cannot be written.
    """

    def describe(item: tuple[Path, Path]) -> list[dict[str, Any]]:
        mask = read_mask(item[1], labels)
        planes = _read_probabilities(item[1].with_suffix(".npz"), mask) if probabilities else None
        try:
            regions = find_regions(mask, labels, planes, tolerance=tolerance, min_area=min_area)
        except DataError as error:
            raise DataError(f"{item[1]}: {error}") from None
        return [_record(region, mask.shape[:2]) for region in regions]

    def annotations() -> Iterator[dict[str, Any]]:
        with ThreadPoolExecutor(1) as reader:
            for number, (_, records) in enumerate(read_ahead(reader, describe, images.items()), 1):
                if isinstance(records, DataError):
                    raise records
                for record in records:
                    record["image_id"] = number
                    record["category_id"] = categories[record["category_id"]]
                    yield record
                if progress is not None:
                    progress(number, len(images))

    shown = [i for i, name in enumerate(labels.names) if name.lower() not in BACKGROUND_NAMES]
    categories = {class_id: number for number, class_id in enumerate(shown, 1)}
    with atomic_write(target) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("{")
        _write_list(file.write, "categories", ({"name": labels.names[i], "supercategory": ""} for i in shown))
        file.write(",\n")
        _write_list(file.write, "images", _image_records(images, target.parent))
        file.write(",\n")
        count = _write_list(file.write, "annotations", annotations())
        file.write("\n}\n")
    return count


def _class_pixels(mask: np.ndarray, labels: LabelMap) -> Iterator[tuple[int, np.ndarray]]:
    """Each class that is there, with its pixels as H×W uint8 of 0 and 1."""
    if mask.ndim == 3:
        for class_id, plane in enumerate(mask):
            yield class_id, (plane != 0).view(np.uint8)
        return
    for class_id in np.flatnonzero(np.bincount(mask.ravel())).tolist():
        if class_id == labels.ignore:
            continue
        if class_id >= len(labels):
            raise DataError(
                f"the mask holds the value {class_id}, which is no class of the model (0 to "
                f"{len(labels) - 1}); predict it again"
            )
        yield class_id, (mask == class_id).view(np.uint8)


def _plane(probabilities: np.ndarray, class_id: int) -> np.ndarray:
    """The probabilities of one class; a binary model has those of class 1 only."""
    if len(probabilities) == 1 and class_id == 0:
        return 1 - probabilities[0]
    plane: np.ndarray = probabilities[0 if len(probabilities) == 1 else class_id]
    return plane


def _read_probabilities(path: Path, mask: np.ndarray) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            planes: np.ndarray = arrays["probabilities"]
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file, so the scores are unknown; predict with probabilities"
        ) from None
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        raise DataError(
            f"{path}: the probabilities are damaged ({error}); predict this image again"
        ) from None
    if planes.ndim != 3 or planes.shape[1:] != mask.shape:
        raise DataError(
            f"{path}: expected probabilities of {mask.shape[1]}x{mask.shape[0]} pixels, found an array of "
            f"shape {planes.shape}; predict this image again"
        )
    return planes


def _image_records(images: Mapping[Path, Path], folder: Path) -> Iterator[dict[str, Any]]:
    for image, mask in images.items():
        height, width = image_size(mask)
        inside = mask.is_relative_to(folder)
        name = mask.relative_to(folder).with_suffix(image.suffix) if inside else image
        yield {"file_name": name.as_posix(), "width": width, "height": height}


def _record(region: Region, size: tuple[int, int]) -> dict[str, Any]:
    """A region as COCO has it, with the class id as its category."""
    (ring,) = region.polygon.rings
    segmentation: Any = [ring.exterior.astype(int).ravel().tolist()]  # the corners of pixels: whole numbers
    if ring.holes:
        counts = runs_to_text(encode_runs(rasterise(region.polygon, *size)))
        segmentation = {"size": list(size), "counts": counts}
    record = {
        "category_id": region.class_id,
        "segmentation": segmentation,
        "bbox": list(region.box),
        "area": region.area,
        "iscrowd": 0,
    }
    return record if region.score is None else record | {"score": round(region.score, 4)}


def _write_list(write: Callable[[str], Any], name: str, records: Iterable[dict[str, Any]]) -> int:
    """One record a line, numbered from 1; returns how many there are."""
    count = 0
    write(f'\n"{name}": [')
    for count, record in enumerate(records, 1):
        write(",\n" if count > 1 else "\n")
        write(json.dumps({"id": count} | record, ensure_ascii=False))
    write("\n]")
    return count
