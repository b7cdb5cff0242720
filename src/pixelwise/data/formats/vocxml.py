"""The ``<annotation>`` documents of PASCAL VOC: one XML file for each image, a box or more for each object.

Sources: the development kits of the VOC challenges (boxes are whole pixels counted from 1, both ends
included), and what others made of the format: RectLabel (``polygon``, ``cubic_bezier``, ``line``,
``keypoints``, ``pixels``), Roboflow and supervision (``polygon``), CVAT (``attributes``), LabelImg.

Coordinates of every kind are taken to count from 1, as VOC does and supervision does for polygons: pixel 1
reaches from 0 to 1 in the corner convention. Many tools count from 0 without saying so; ``first_pixel=0``
takes the numbers as corners.

An object with several geometries is the finest of them: pixels, then outlines, lines, key points, the box.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from pixelwise.data.annotations import AnnotatedImage, Findings, finite, stated_size, whole
from pixelwise.data.formats.folders import split_folder, usable_name
from pixelwise.data.locate import ImageFinder, as_posix
from pixelwise.data.raster import to_bitmap
from pixelwise.data.sniff import text_head
from pixelwise.errors import DataError, UsageError
from pixelwise.io import IMAGE_SUFFIXES, is_image
from pixelwise.io.documents import read_xml
from pixelwise.io.images import open_image
from pixelwise.shapes import Bitmap, Box, Geometry, Points, Polygon, Polyline, Shape, Vertices

_HEAD = 1 << 16
_GEOMETRIES = ("pixels", "polygon", "cubic_bezier", "line", "keypoints", "bndbox")
_MARKS = ("truncated", "difficult")
_DRAWN = re.compile(r"<(?:polygon|cubic_bezier|line|keypoints)>\s*<x1>|<pixels>\s*<id>")
_NO_PLACE = re.compile("^(JPEGImages|Annotations)/", re.IGNORECASE)  # folders that say nothing of an image
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


_FOLDERS = ("JPEGImages", "images")


class _Images:
    """Finds the image of an XML file: the named one, else that with the file's stem.

    People rename images and XML files and forget the name inside. The masks of a VOC folder may have the
    images' very names, so the folders of images are asked before the whole tree is searched.
    """

    def __init__(self, root: Path) -> None:
        self.finder = ImageFinder(root)
        self.root = self.finder.root
        self._listed: dict[Path, dict[str, Path]] = {}

    def find(self, name: str, path: Path) -> Path | None:
        around = dict.fromkeys((path.parent.parent, self.root))  # one split of an export, then all of it
        folders = (*(place / folder for place in around for folder in _FOLDERS), path.parent, self.root)
        whole_name = Path(name).suffix.lower() in IMAGE_SUFFIXES
        for place in (Path(os.path.normpath(folder / name)) for folder in folders if whole_name):
            if place.is_relative_to(self.root) and os.path.isfile(place):
                return place
        for stem in (path.stem,) if whole_name or not name else (name, path.stem):
            for folder in folders:
                place = Path(os.path.normpath(folder / stem))
                inside = place.parent.is_relative_to(self.root)
                found = self._in(place.parent).get(place.name) if inside else None
                if found is not None:
                    return found
        return self.finder.find(name, path.parent) if whole_name else None

    def _in(self, folder: Path) -> dict[str, Path]:
        """The images that lie directly in a folder, by stem."""
        if folder not in self._listed:
            files = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
            self._listed[folder] = {file.stem: file for file in files if is_image(file)}
        return self._listed[folder]


class _Place(NamedTuple):
    """Where the file that is being read is, and what its numbers mean."""

    path: Path
    finder: ImageFinder
    first_pixel: int
    size: tuple[int, int]
    findings: Findings


def is_annotation(path: Path) -> bool:
    """Whether an XML file begins as VOC's do, and not as CVAT's or as those of MIT's LabelMe."""
    head = text_head(path)
    return bool(re.search(r"<annotation[\s>]", head)) and not re.search(r"<pt>|<sourceAnnotation>", head)


def is_drawn(path: Path) -> bool:
    """Whether a file has outlines, lines, key points or pixels beside boxes."""
    return _DRAWN.search(text_head(path, _HEAD)) is not None


def is_by_roboflow(path: Path) -> bool:
    """Whether Roboflow or its library supervision wrote a file."""
    return "<database>roboflow" in text_head(path).lower()


def read_annotations(
    paths: Iterable[Path], root: Path, first_pixel: int, findings: Findings, single: bool = False
) -> list[AnnotatedImage]:
    """The images that XML files describe; bad files and objects are noted in ``findings``.

    Parameters
    ----------
    paths
        XML files.
    root
        The data's folder: images are looked for below it.
    first_pixel
        1 when coordinates count pixels from 1, 0 when they are corners counted from 0.
    findings
        Collects what is odd.
    single
        Raise DataError for a bad file instead of noting it.
    """
    if first_pixel not in (0, 1):
        raise UsageError(f"the first pixel is {first_pixel!r}; expected 1 (as VOC counts) or 0")
    finder = _Images(root)
    images: list[AnnotatedImage] = []
    for path in paths:
        where = str(path.relative_to(root)) if path.is_relative_to(root) else path.name
        try:
            document = read_xml(path)
        except DataError as error:
            if single:
                raise
            message = "annotation files that cannot be read, left out"
            reason = str(error).replace(f"{root}/", "")
            findings.add("unreadable_file", message, reason, "export or save them again", level="error")
            continue
        if document.tag != "annotation":
            findings.add("other_xml", "XML files that are not VOC's, left out", where)
            continue
        images.append(_image(document, path, where, finder, first_pixel, findings))
    note_repeated(images, findings)
    return images


def note_repeated(images: Iterable[AnnotatedImage], findings: Findings) -> None:
    """Note images that more than one file describes."""
    seen: set[Path | str] = set()
    for image in images:
        key = image.path or f"{image.split}/{image.name}"
        if key in seen:
            message = "images that more than one annotation file describes, each kept as an image of its own"
            fix = "keep one annotation file for each image"
            findings.add("repeated_image", message, f"{image.source.name}: {image.name}", fix)
        seen.add(key)


def _image(
    document: Element, path: Path, where: str, finder: _Images, first_pixel: int, findings: Findings
) -> AnnotatedImage:
    given = usable_name(as_posix(_text(document, "filename")))
    found = finder.find(given, path)
    name = found.relative_to(finder.root).as_posix() if found else given.rsplit("/", 1)[-1] or path.stem
    if found is None and path.is_relative_to(finder.root):
        name = (path.parent.relative_to(finder.root) / name).as_posix()
    split, name = split_folder(name)
    name = _NO_PLACE.sub("", name)
    sides = _text(document, "size/height"), _text(document, "size/width")
    height, width = stated_size(*sides, where, findings)
    image = AnnotatedImage(name, path, height, width, path=found, split=split)
    place = _Place(path, finder.finder, first_pixel, (height, width), findings)
    for number, item in enumerate(document.iterfind("object"), 1):
        shape = _object(item, f"{where}: object {number}", place)
        if shape is not None:
            image.shapes.append(shape)
    return image


def _object(item: Element, where: str, place: _Place) -> Shape | None:
    """One object, or None when it had to be left out (which is noted)."""
    fix = "mend them in the annotation tool, or delete them there"
    label = _text(item, "name")
    kind = next((kind for kind in _GEOMETRIES if item.find(kind) is not None), None)
    drawn = item.find(kind) if kind else None
    try:
        if not label:
            raise DataError(f"{where}: has no name")
        if kind is None or drawn is None:
            raise DataError(f"{where} ({label}): has no box and no outline")
        geometry = _READERS[kind](drawn, f"{where} ({label})", place)
    except DataError as error:
        place.findings.add("bad_shape", "objects that cannot be read, left out", str(error), fix)
        return None
    occluded, attributes = _said(item, where, place.findings)
    return Shape(label, geometry, occluded=occluded, attributes=attributes)


def _said(item: Element, where: str, findings: Findings) -> tuple[bool, dict[str, Any]]:
    """Whether an object is occluded, and what else is said of it."""
    attributes: dict[str, Any] = {}
    occluded = False
    for child in item:
        text = (child.text or "").strip()
        if child.tag == "occluded":
            occluded = text.lower() in ("1", "true", "yes")
        elif child.tag in _MARKS:
            attributes |= {child.tag: True} if text.lower() in ("1", "true") else {}
        elif child.tag == "attributes":
            pairs = ((_text(pair, "name"), pair.find("value")) for pair in child.iter("attribute"))
            attributes |= {name: _value(value) for name, value in pairs if name}
        elif child.tag == "actions":
            attributes |= {action.tag: (action.text or "").strip() == "1" for action in child}
        elif child.tag == "part":
            message = "parts of objects (head, hand, foot), not read"
            findings.add("part", message, f"{where}: {_text(child, 'name')}")
        elif not len(child) and text not in ("", "Unspecified") and child.tag not in ("name", *_GEOMETRIES):
            attributes[child.tag] = text
    return occluded, attributes


def _value(element: Element | None) -> Any:
    """What an attribute's text stands for: true or false, a number, else the text itself.

    >>> item = Element("value"); item.text = "0003"
    >>> _value(item)
    '0003'
    """
    text = "" if element is None else (element.text or "").strip()
    if element is not None and element.get("type") == "text":
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    flat = value if isinstance(value, list) else [value]
    plain = all(isinstance(one, str | bool | int | float) and one == one for one in flat)
    return value if plain and not isinstance(value, str) else text


def _box(drawn: Element, where: str, place: _Place) -> Geometry:
    """Both ends are included, so the far one is a corner as it is."""
    texts = [_text(drawn, key) for key in ("xmin", "ymin", "xmax", "ymax")]
    x0, y0, x1, y1 = finite(texts, where).tolist()
    if x1 < x0 or y1 < y0:
        x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
        place.findings.add("swapped_box", "boxes with swapped corners, put right", where)
    return Box(x0 - place.first_pixel, y0 - place.first_pixel, x1, y1)


def _outline(drawn: Element, where: str, place: _Place) -> Geometry:
    return Polygon.of(_vertices(drawn, where, place, 3))


def _line(drawn: Element, where: str, place: _Place) -> Geometry:
    return Polyline(_vertices(drawn, where, place, 2), _number(drawn, "width", 1.0, where))


def _keypoints(drawn: Element, where: str, place: _Place) -> Geometry:
    """Those with visibility 0 were not placed, as in COCO."""
    points = _vertices(drawn, where, place, 1)
    shown = [_text(drawn, f"v{suffix}") != "0" for suffix in _suffixes(drawn)]
    if not any(shown):
        raise DataError(f"{where}: none of its key points was placed")
    return Points(points[np.array(shown)], _number(drawn, "radius", 0.0, where))


def _bezier(drawn: Element, where: str, place: _Place) -> Geometry:
    """A closed curve as a polygon, sampled so finely that it is off by a tenth of a pixel at most."""
    place.findings.add("bezier", "cubic Bézier curves, read as polygons", where)
    knots = _vertices(drawn, where, place, 2)
    first, second = (_vertices(drawn, where, place, 2, ending) for ending in ("_c1", "_c2"))
    return Polygon.of(bezier_outline(knots, first, second))


def bezier_outline(knots: Vertices, first: Vertices, second: Vertices) -> Vertices:
    """The outline of a closed curve with two control points at each knot: N×2 float64.

    Which of the two steers what (the curve before or after the knot, or both the curve after it) is written
    down nowhere. The reading with the shortest control lines is taken: the others make the curve jump.
    """
    after = np.roll(np.arange(len(knots)), -1)
    ways = ((second, first[after]), (first, second[after]), (first, second))
    ends = knots[after]

    def length(way: tuple[Vertices, Vertices]) -> float:
        corners = (knots, way[0], way[1], ends)
        return sum(float(np.hypot(*(b - a).T).sum()) for a, b in zip(corners, corners[1:], strict=False))

    begin, end = min(ways, key=length)
    pieces = []
    for p, q, r, s in zip(knots, begin, end, ends, strict=True):
        reach = np.hypot(*(q - p)) + np.hypot(*(r - q)) + np.hypot(*(s - r))
        t = np.arange(count := int(np.clip(np.ceil(2 * np.sqrt(reach)), 8, 400)))[:, None] / count
        pieces.append((1 - t) ** 3 * p + 3 * (1 - t) ** 2 * t * q + 3 * (1 - t) * t**2 * r + t**3 * s)
    return np.concatenate(pieces)


def _pixels(drawn: Element, where: str, place: _Place) -> Geometry:
    """The on pixels of ``{stem}_pixels{id}.png``, which lies beside the XML file or the image."""
    ids = [whole((child.text or "").strip(), where) for child in drawn.iter("id")]
    if not ids:
        raise DataError(f"{where}: its pixels have no id")
    masks = []
    for number in ids:
        name = f"{place.path.stem}_pixels{number}.png"
        path = place.finder.find(name, place.path.parent)
        if path is None:
            raise DataError(f"{where}: its mask {name} is not in the folder")
        masks.append(_on_pixels(path))
    if any(mask.shape != masks[0].shape for mask in masks):
        raise DataError(f"{where}: its masks differ in size")
    if all(place.size) and masks[0].shape != place.size:
        height, width = masks[0].shape
        message = "masks of another size than their image, placed at its upper left corner"
        place.findings.add("mask_size", message, f"{where}: {width} x {height}")
    return to_bitmap(np.logical_or.reduce(masks))


def _on_pixels(path: Path) -> np.ndarray:
    with open_image(path) as picture:
        try:
            pixels = np.array(picture)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{path}: the mask is damaged ({error}); export it again") from None
    if pixels.ndim == 2:
        return pixels != 0
    see_through = pixels[..., -1] == 0 if pixels.shape[-1] in (2, 4) else False
    return pixels[..., : min(3, pixels.shape[-1])].any(-1) & ~np.asarray(see_through)


_READERS: dict[str, Callable[[Element, str, _Place], Geometry]] = {
    "pixels": _pixels,
    "polygon": _outline,
    "cubic_bezier": _bezier,
    "line": _line,
    "keypoints": _keypoints,
    "bndbox": _box,
}


def _suffixes(drawn: Element) -> list[str]:
    """The numbers of the points, in numeric order; their tags may stand in any."""
    numbers = [child.tag[1:] for child in drawn if re.fullmatch(r"x\d{1,9}", str(child.tag))]
    return sorted(numbers, key=int)


def _vertices(drawn: Element, where: str, place: _Place, at_least: int, ending: str = "") -> Vertices:
    """N×2 from ``x1, y1, x2, y2, ...``."""
    texts = [[_text(drawn, f"{axis}{n}{ending}") for axis in "xy"] for n in _suffixes(drawn)]
    if len(texts) < at_least:
        raise DataError(f"{where}: has {len(texts)} points, expected {at_least} or more")
    return finite(texts, where).reshape(-1, 2) - place.first_pixel


def _number(element: Element, tag: str, default: float, where: str) -> float:
    text = _text(element, tag)
    return float(np.clip(finite([text], where)[0], 0, 1e4)) if text else default


def _text(element: Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


# Writing.


def annotation(image: AnnotatedImage, folder: str) -> Element:
    """A document without objects."""
    document = Element("annotation")
    add(document, "folder", folder)
    add(document, "filename", image.name.rsplit("/", 1)[-1])
    size = SubElement(document, "size")
    for tag, value in (("width", image.width), ("height", image.height), ("depth", 3)):
        add(size, tag, value)
    return document


def add_object(document: Element, label: str, occluded: bool = False) -> Element:
    """An object with the marks that every reader of VOC expects."""
    item = SubElement(document, "object")
    add(item, "name", label)
    add(item, "pose", "Unspecified")
    for mark, value in (("truncated", False), ("occluded", occluded), ("difficult", False)):
        add(item, mark, int(value))
    return item


def add_attributes(item: Element, attributes: Mapping[str, Any]) -> None:
    """VOC's marks where they stand, everything else as CVAT writes it; texts that look like values say so."""
    others: dict[str, Any] = {}
    for name, value in attributes.items():
        mark = item.find(name) if name in _MARKS and value is True else None
        pose = item.find(name) if name == "pose" and isinstance(value, str) else None
        if mark is not None:
            mark.text = "1"
        elif pose is not None:
            pose.text = _ILLEGAL.sub("", value)
        else:
            others[name] = value
    if others:
        parent = SubElement(item, "attributes")
    for name, value in others.items():
        pair = SubElement(parent, "attribute")
        add(pair, "name", name)
        add(pair, "value", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        if isinstance(value, str) and _value(pair[-1]) != value:
            pair[-1].set("type", "text")


def add_box(item: Element, x0: float, y0: float, x1: float, y1: float) -> None:
    """A box given by its corners, as VOC counts."""
    box = SubElement(item, "bndbox")
    for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), (x0 + 1, y0 + 1, x1, y1), strict=True):
        add(box, tag, number_text(value))


def add_points(item: Element, tag: str, points: Vertices) -> Element:
    """``x1, y1, x2, ...``, counted from 1."""
    drawn = SubElement(item, tag)
    for number, (x, y) in enumerate(points, 1):
        add(drawn, f"x{number}", number_text(x + 1))
        add(drawn, f"y{number}", number_text(y + 1))
    return drawn


def add(parent: Element, tag: str, value: Any) -> None:
    """An element with text; characters that XML cannot hold are left away."""
    SubElement(parent, tag).text = _ILLEGAL.sub("", str(value))


def number_text(value: float) -> str:
    """Up to six decimals, none where none is needed.

    >>> number_text(3.0), number_text(2.5), number_text(1 / 3)
    ('3', '2.5', '0.333333')
    """
    return f"{value:.6f}".rstrip("0").rstrip(".")


def xml_text(document: Element) -> str:
    """The document as indented text."""
    indent(document, "    ")
    return tostring(document, encoding="unicode") + "\n"


def as_full_mask(bitmap: Bitmap, pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """H×W uint8 of 0 and 255 with a bitmap's window in its place; the window must lie inside."""
    mask = np.zeros(size, np.uint8)
    mask[bitmap.y : bitmap.y + bitmap.height, bitmap.x : bitmap.x + bitmap.width] = pixels * np.uint8(255)
    return mask
