"""RectLabel (macOS): VOC's XML with outlines, curves, lines, key points and pixel masks.

Sources: rectlabel.com/help (folders, "_pixels" and "_depth" files, EXIF) and real files with ``<pixels>``
(github.com/YimianDai/sirst). ``images/x.jpg`` belongs to ``annotations/x.xml`` (or the two lie side by
side); ``<pixels><id>k</id></pixels>`` means the mask ``x_pixels{k}.png`` beside the XML file.

Not verified for lack of a real file or a word of the author: that polygons count pixels from 1 as VOC's boxes
do (``first_pixel=0`` reads them as corners), which control point of a curve steers what, and what
``<keypoints>`` and ``<line>`` hold beside coordinates. RectLabel's COCO and YOLO exports are read by ``coco``
and ``yolo``.

Departures in writing: the width of a line and the radius of points are written as ``<width>`` and
``<radius>``, and attributes as CVAT writes them in this format; RectLabel knows neither.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image

from pixelwise.data.adapt import Holds
from pixelwise.data.annotations import AnnotatedImage, Document, Findings
from pixelwise.data.formats import vocxml
from pixelwise.data.formats.folders import classes_below, declare, write_class_json
from pixelwise.data.geometry import as_pixels
from pixelwise.data.raster import bitmap_window, bounds
from pixelwise.data.sniff import files_with, first_files
from pixelwise.errors import DataError
from pixelwise.io import atomic_write, write_text
from pixelwise.labels import LabelMap
from pixelwise.shapes import Bitmap, Box, Points, Polyline, Shape

HOLDS = Holds(
    kinds=frozenset({"polygon", "bitmap", "box", "polyline", "points"}),
    occlusion=True,
    attributes=True,
    ignored=True,
)
"""Polygons have one ring, so that holes and several parts become pixels."""

_LOOK_AT = 30
_VOC_FOLDERS = ("JPEGImages", "ImageSets", "SegmentationClass", "SegmentationObject")


def recognise(root: Path) -> bool:
    """Whether one of the first XML files has what only RectLabel draws; VOC's folders are VOC's.

    XML files with nothing but boxes may be anybody's: they are VOC, which reads the same from them.
    """
    if root.is_dir() and any((root / name).is_dir() for name in _VOC_FOLDERS):
        return False
    files = [path for path in first_files(root, [".xml"], _LOOK_AT) if vocxml.is_annotation(path)]
    return any(map(vocxml.is_drawn, files)) and not any(map(vocxml.is_by_roboflow, files))


def load(root: Path, *, first_pixel: int = 1) -> Document:
    """Read a folder of RectLabel's XML files and its sub-folders, or one file.

    Parameters
    ----------
    root
        The folder with images and annotations.
    first_pixel
        1 when coordinates count pixels from 1, as VOC does; 0 when they are corners.

    Raises
    ------
    DataError
        There is no XML file of this kind, or the only one cannot be read.
    """
    folder = root if root.is_dir() else root.parent
    findings = Findings()
    paths = files_with(root, (".xml",))
    images = vocxml.read_annotations(paths, folder, first_pixel, findings, single=root.is_file())
    if not images:
        found = next((place for problem in findings.problems() for place in problem.files), "")
        raise DataError(
            f"{root}: holds no annotation file of RectLabel{f' ({found})' if found else ''}; "
            "expected an .xml for each image, in VOC's form"
        )
    document = Document(images, problems=findings.problems())
    if (labels := classes_below(folder, (image.source for image in images))) is not None:
        declare(document, labels)
    return document


def tidy_name(name: str) -> str:
    """Images and annotations lie in one folder each."""
    return name.replace("/", "_")


def image_path(image: AnnotatedImage) -> str:
    """``images/<name>``."""
    return f"images/{image.name}"


def save(document: Document, path: Path, labels: LabelMap) -> None:
    """Write ``annotations/<stem>.xml``, masks beside them, and the classes as ``classes.json``."""
    for image in document.images:
        _save_image(image, path / "annotations" / Path(image.name).stem)
    write_class_json(path, labels)


def _save_image(image: AnnotatedImage, stem: Path) -> None:
    tree = vocxml.annotation(image, "images")
    size, masks = (image.height, image.width), 0
    for shape in image.shapes:
        geometry: Any = shape.geometry
        if isinstance(geometry, Bitmap):
            geometry = as_pixels(geometry, *size)
            if not geometry.width:
                continue  # nothing of it is in the image
            mask = vocxml.as_full_mask(geometry, bitmap_window(geometry), size)
            with atomic_write(stem.parent / f"{stem.name}_pixels{masks}.png") as temporary:
                Image.fromarray(mask).save(temporary)
            masks += 1
        _add(tree, shape, geometry, masks - 1)
    write_text(stem.parent / f"{stem.name}.xml", vocxml.xml_text(tree))


def _add(tree: Element, shape: Shape, geometry: Any, mask: int) -> None:
    item = vocxml.add_object(tree, shape.label, shape.occluded)
    vocxml.add_attributes(item, shape.attributes)
    if isinstance(geometry, Bitmap):
        vocxml.add(vocxml.add_points(item, "pixels", np.zeros((0, 2))), "id", mask)
    elif isinstance(geometry, Polyline):
        vocxml.add(
            vocxml.add_points(item, "line", geometry.points), "width", vocxml.number_text(geometry.width)
        )
    elif isinstance(geometry, Points):
        drawn = vocxml.add_points(item, "keypoints", geometry.points)
        for number in range(1, len(geometry.points) + 1):
            vocxml.add(drawn, f"v{number}", 2)
        vocxml.add(drawn, "radius", vocxml.number_text(geometry.radius))
    elif not isinstance(geometry, Box):
        vocxml.add_points(item, "polygon", geometry.rings[0].exterior)
    vocxml.add_box(item, *bounds(geometry))
