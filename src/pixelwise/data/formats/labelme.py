"""LabelMe: a JSON file beside each image (github.com/wkentaro/labelme, format of versions 3 to 7).

Every shape type is read: polygon (also where the type is missing, as in old files), rectangle (any two
opposite corners), oriented_rectangle (and X-AnyLabeling's rotation), circle, line, linestrip, point, points
and mask. LabelMe draws lines 10 pixels wide and points with a radius of 5; shapes are read with these sizes,
so that both fill rules of :mod:`pixelwise.data.raster` give what LabelMe's own conversions give, but for a
rim of a pixel and the ends of lines, which are round here. ``points`` (prompts) cover nothing, as in LabelMe.

Departures: other sizes are written as ``line_width`` and ``point_size``, keys that LabelMe keeps and ignores;
an occluded shape has the flag ``occluded``; attributes that are neither true nor false go to ``attributes``,
where X-AnyLabeling has them. The XML of MIT's older LabelMe web tool is another format and is refused.
"""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pixelwise.data.adapt import Holds
from pixelwise.data.annotations import (
    BACKGROUND_NAMES,
    IGNORED,
    AnnotatedImage,
    Document,
    Findings,
    finite,
    stated_size,
    whole,
)
from pixelwise.data.classes import CLASS_FILES, find_class_file
from pixelwise.data.formats.folders import (
    classes_below,
    declare,
    split_folder,
    usable_name,
    write_class_list,
)
from pixelwise.data.geometry import as_pixels, to_polygon
from pixelwise.data.locate import ImageFinder, as_posix
from pixelwise.data.raster import bitmap_window, box_corners
from pixelwise.data.sniff import files_with, first_files, json_head, text_head
from pixelwise.errors import DataError
from pixelwise.io import IMAGE_SUFFIXES, is_image, read_label_file, write_json
from pixelwise.io.documents import read_json
from pixelwise.io.labelfiles import is_void
from pixelwise.kernels.runs import encode_runs
from pixelwise.labels import LabelMap
from pixelwise.shapes import Bitmap, Box, Ellipse, Geometry, Points, Polygon, Polyline, Shape, Vertices

HOLDS = Holds(
    kinds=frozenset({"polygon", "bitmap", "box", "ellipse", "polyline", "points"}),
    turned_boxes=True,
    only_circles=True,
    groups=True,
    occlusion=True,
    scores=True,
    attributes=True,
    tags=True,
    ignored=True,
)
"""Holes become masks, several parts become shapes of one group; ellipses that are no circles, polygons."""

LINE_WIDTH, POINT_SIZE = 10.0, 5.0
"""The width of lines and the radius of points that LabelMe draws, in pixels."""

_VERSION = "5.5.0"
_IGNORE = "__ignore__"
_DISPLAY = frozenset({"lineColor", "fillColor", "line_color", "fill_color"})  # how old versions drew
_TOP = _DISPLAY | {"version", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
_OWN = _DISPLAY | {
    *("label", "points", "group_id", "shape_type", "mask", "score"),
    *("line_width", "point_size"),
}
_BROKEN_PICTURE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)


def recognise(root: Path) -> bool:
    """Whether the first JSON files are LabelMe's, or the first XML file is that of MIT's LabelMe."""
    return any(_is_labelme(json_head(path)) for path in first_files(root, [".json"])) or any(
        map(_is_web_tool, first_files(root, [".xml"], 1))
    )


def load(root: Path) -> Document:
    """Read a folder of LabelMe files and its sub-folders, or one file.

    Sub-folders ``train``, ``val`` and ``test`` are splits. Where the folder has no class file, that of the
    sub-folders counts, else a ``labels.txt`` one level up that lists every label in use: LabelMe's own
    examples keep it there.

    Raises
    ------
    DataError
        There is no file of LabelMe, or the only one cannot be read.
    """
    folder = root if root.is_dir() else root.parent
    finder, findings = ImageFinder(folder), Findings()
    images: list[AnnotatedImage] = []
    for path in files_with(root, (".json",)):
        try:
            content = read_json(path)
        except DataError as error:
            if path == root:
                raise
            fix = "export or save them again"
            message = "annotation files that cannot be read, left out"
            findings.add("unreadable_file", message, str(error).replace(f"{folder}/", ""), fix, level="error")
            continue
        if _is_labelme(content):
            images.append(_image(content, path, finder, findings))
        elif path.name.lower() not in CLASS_FILES:
            where = str(path.relative_to(folder))
            findings.add("other_json", "JSON files that are not LabelMe's, left out", where)
    problems = findings.problems()
    if not images:
        raise DataError(_nothing(root, [place for p in problems for place in p.files]))
    _note_repeated(images, findings)
    document = Document(images, problems=findings.problems())
    if (labels := _declared(folder, images)) is not None:
        declare(document, labels)
    return document


def tidy_name(name: str) -> str:
    """Any relative name will do."""
    return name


def image_path(image: AnnotatedImage) -> str:
    """Images lie where they are, each with its JSON file beside it."""
    return image.name


def save(document: Document, path: Path, labels: LabelMap) -> None:
    """Write a JSON file beside each image, and ``labels.txt`` as LabelMe's ``--labels`` takes it."""
    for image in document.images:
        write_json((path / image.name).with_suffix(".json"), _file(image))
    write_class_list(path / "labels.txt", [_IGNORE, *labels.names], labels)


def _is_labelme(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and "shapes" in content
        and bool({"imagePath", "imageData", "imageHeight", "version"} & content.keys())
    )


def _is_web_tool(path: Path) -> bool:
    """Whether a file is the XML of the LabelMe web tool of MIT CSAIL."""
    head = text_head(path)
    return "<annotation>" in head and ("<sourceAnnotation>LabelMe" in head or "<pt>" in head)


def _nothing(root: Path, places: list[str]) -> str:
    if any(map(_is_web_tool, first_files(root, [".xml"], 1))):
        return (
            f"{root}: this is the XML of MIT's LabelMe web tool, not the JSON of labelme; "
            "convert it first, such as with datumaro"
        )
    found = f" ({places[0]})" if places else ""
    return f"{root}: holds no annotation file of LabelMe{found}; expected a .json beside each image"


def _image(content: dict[str, Any], path: Path, finder: ImageFinder, findings: Findings) -> AnnotatedImage:
    """One image with its shapes."""
    where = str(path.relative_to(finder.root)) if path.is_relative_to(finder.root) else path.name
    found, given = _find_image(content, path, finder)
    place = found or path.parent / given
    split, name = split_folder(place.relative_to(finder.root).as_posix() if place != path else path.name)
    image = AnnotatedImage(name, path, path=found, split=split)
    sides = content.get("imageHeight"), content.get("imageWidth")
    image.height, image.width = stated_size(*sides, where, findings)
    if found is None and content.get("imageData"):
        image.embedded = _embedded(content["imageData"], path, where, findings)
    image.tags = _facts(content, _TOP)
    shapes = content["shapes"]
    if not isinstance(shapes, list):
        message = "files whose shapes are not a list, so that they have none"
        findings.add("bad_file", message, where, "export or save them again", level="error")
        shapes = []
    read = (_shape(shape, f"{where}: shape {i}", findings) for i, shape in enumerate(shapes, 1))
    image.shapes = [shape for shape in read if shape is not None]
    return image


def _find_image(content: dict[str, Any], path: Path, finder: ImageFinder) -> tuple[Path | None, str]:
    """The image file, and what to call the image when there is none."""
    given = content.get("imagePath")
    name = usable_name(as_posix(given)) if isinstance(given, str) else ""
    if is_image(Path(name)):
        found = finder.find(name, path.parent)
        if found is not None:
            return found, name
    beside = (path.with_suffix(end) for suffix in sorted(IMAGE_SUFFIXES) for end in (suffix, suffix.upper()))
    found = next((file for file in beside if file.is_file()), None)
    last = name.rsplit("/", 1)[-1]
    return found, last if is_image(Path(last)) else f"{path.stem}.png"


def _embedded(data: Any, path: Path, where: str, findings: Findings) -> Callable[[], bytes] | None:
    """What reads the picture again when it is wanted: thousands of them would not fit into memory."""
    try:
        _from_base64(data)
    except ValueError:
        findings.add("bad_image_data", "embedded images that are damaged", where, level="error")
        return None
    return partial(_read_embedded, path)


def _read_embedded(path: Path) -> bytes:
    return _from_base64(read_json(path)["imageData"])


def _from_base64(data: Any) -> bytes:
    if not isinstance(data, str):
        raise ValueError("expected base64 text")
    text = data.rpartition(",")[2] if data.startswith("data:") else data
    return base64.b64decode("".join(text.split()), validate=True)


def _shape(record: Any, where: str, findings: Findings) -> Shape | None:
    """One shape, or None when it had to be left out (which is noted)."""
    fix = "mend them in LabelMe, or delete them there"
    if not isinstance(record, dict):
        findings.add("bad_shape", "shapes that cannot be read, left out", f"{where}: not an object", fix)
        return None
    kind = record.get("shape_type") or "polygon"
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        message = f"shapes of the unknown type {str(kind)[:40]!r}, left out"
        findings.add("unknown_shape", message, where)
        return None
    label = record.get("label")
    label = str(label).strip() if isinstance(label, str | int) else ""
    try:
        points = _points(record.get("points"), where)
        if len(points) < _AT_LEAST.get(kind, 1):
            message = f"{kind}s with fewer than {_AT_LEAST.get(kind, 1)} points, left out"
            findings.add("few_points", message, f"{where} ({label})", fix)
            return None
        if not label:
            raise DataError(f"{where}: has no label")
        geometry = reader(record, points, where)
    except DataError as error:
        findings.add("bad_shape", "shapes that cannot be read, left out", str(error), fix)
        return None
    facts = _facts(record, _OWN)
    occluded = isinstance(facts.get("occluded"), bool) and facts.pop("occluded")
    return Shape(
        label,
        geometry,
        group=_group(record.get("group_id"), where, findings),
        occluded=occluded,
        score=_score(record, facts),
        attributes=facts,
    )


def _points(points: Any, where: str) -> Vertices:
    if not isinstance(points, list) or any(not isinstance(p, list) or len(p) != 2 for p in points):
        raise DataError(f"{where}: its points are not a list of x, y")
    return finite(points, where).reshape(-1, 2)


def _polygon(record: Mapping[str, Any], points: Vertices, where: str) -> Geometry:
    return Polygon.of(points)


def _rectangle(record: Mapping[str, Any], points: Vertices, where: str) -> Geometry:
    if len(points) > 2:  # X-AnyLabeling gives all four corners
        return _oriented(record, points, where)
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    return Box(float(x0), float(y0), float(x1), float(y1))


def _oriented(record: Mapping[str, Any], points: Vertices, where: str) -> Geometry:
    """A turned box where the four corners are square to each other, else the polygon that they are."""
    if len(points) != 4:
        raise DataError(f"{where}: has {len(points)} corners, expected 4")
    across, down = points[1] - points[0], points[3] - points[0]
    if across[0] * down[1] - across[1] * down[0] < 0:  # counter-clockwise
        across, down = down, across
    width, height = float(np.hypot(*across)), float(np.hypot(*down))
    skew = abs(points[0] + points[2] - points[1] - points[3]).max()
    if skew > 0.01 or abs(across @ down) > 0.001 * width * height:
        return Polygon.of(points)
    cx, cy = points.mean(0)
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    if angle % 90 == 0:
        return _rectangle(record, np.stack([points.min(0), points.max(0)]), where)
    return Box(cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2, angle)


def _circle(record: Mapping[str, Any], points: Vertices, where: str) -> Geometry:
    """The centre, and a point on the rim."""
    radius = float(np.hypot(*(points[1] - points[0])))
    return Ellipse(float(points[0, 0]), float(points[0, 1]), radius, radius)


def _line(record: Mapping[str, Any], points: Vertices, where: str) -> Geometry:
    return Polyline(points, _extra(record, "line_width", LINE_WIDTH))


def _point(record: Mapping[str, Any], points: Vertices, where: str) -> Geometry:
    return Points(points, _extra(record, "point_size", POINT_SIZE))


def _prompts(record: Mapping[str, Any], points: Vertices, where: str) -> Geometry:
    return Points(points, _extra(record, "point_size", 0.0))


def _extra(record: Mapping[str, Any], key: str, default: float) -> float:
    value = record.get(key)
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e5 else default


def _mask(record: Mapping[str, Any], points: Vertices, where: str) -> Geometry:
    """The picture at the first corner; where the corners are not whole they are rounded."""
    try:
        data = _from_base64(record.get("mask"))
        with Image.open(io.BytesIO(data)) as picture:
            pixels = np.array(picture)
    except _BROKEN_PICTURE as error:
        raise DataError(f"{where}: its mask is no base64 PNG ({error})") from None
    on = (pixels[..., :3].any(-1) if pixels.ndim == 3 else pixels) != 0
    left, top = np.floor(points.min(0) + 0.5).astype(int)
    return Bitmap(int(left), int(top), on.shape[0], on.shape[1], encode_runs(on))


_READERS: dict[str, Callable[[Mapping[str, Any], Vertices, str], Geometry]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "oriented_rectangle": _oriented,
    "rotation": _oriented,
    "circle": _circle,
    "line": _line,
    "linestrip": _line,
    "point": _point,
    "points": _prompts,
    "mask": _mask,
}
_AT_LEAST = {"polygon": 3, "rectangle": 2, "circle": 2, "line": 2, "linestrip": 2}


def _group(value: Any, where: str, findings: Findings) -> int | None:
    if value is None:
        return None
    try:
        return whole(value, where, low=-(2**31))
    except DataError:
        findings.add("bad_group", "group ids that are no whole numbers, ignored", where)
        return None


def _score(record: Mapping[str, Any], facts: dict[str, Any]) -> float | None:
    """A confidence, as X-AnyLabeling writes it; anything else by that name stays a fact."""
    value = record.get("score")
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    if value is not None:
        facts["score"] = _plain(value)
    return None


def _facts(record: Mapping[str, Any], own: frozenset[str]) -> dict[str, Any]:
    """Flags, description and whatever else tools write, by name."""
    facts: dict[str, Any] = {}
    for key, value in record.items():
        if key in ("flags", "attributes") and isinstance(value, dict):
            facts |= {name: _plain(fact) for name, fact in value.items()}
        elif key not in own and value not in (None, "", [], {}):
            facts[key] = _plain(value)
    return facts


def _plain(value: Any) -> Any:
    """A string, number, boolean or list of them; JSON text of anything deeper."""
    items = value if isinstance(value, list) else [value]
    flat = all(item is None or isinstance(item, str | int | float) for item in items)
    return value if flat else json.dumps(value, ensure_ascii=False)


def _note_repeated(images: list[AnnotatedImage], findings: Findings) -> None:
    seen: dict[Path | tuple[str | None, str], AnnotatedImage] = {}
    for image in images:
        first = seen.setdefault(image.path or (image.split, image.name), image)
        if first is not image:
            message = "images that more than one annotation file describes, each kept as an image of its own"
            fix = "keep one annotation file for each image"
            findings.add("repeated_image", message, f"{image.source.name}: {image.name}", fix)


def _declared(folder: Path, images: list[AnnotatedImage]) -> LabelMap | None:
    """The classes of a class file that is not in the folder itself."""
    if find_class_file(folder) is not None:
        return None  # everybody's first choice
    above = folder.absolute().parent / "labels.txt"
    found = classes_below(folder, (image.source for image in images))
    if found is None and above.is_file():
        used = {shape.label for image in images for shape in image.shapes}
        found = labels if (labels := _readable(above)) and _covers(labels, used) else None
    return found


def _readable(path: Path) -> LabelMap | None:
    try:
        return read_label_file(path)[0]
    except DataError:  # outside the folder, so it is nobody's mistake
        return None


def _covers(labels: LabelMap, used: set[str]) -> bool:
    known = {*labels.names, *BACKGROUND_NAMES}
    return bool(used) and all(label in known or is_void(label) for label in used)


def _file(image: AnnotatedImage) -> dict[str, Any]:
    """The content of a JSON file, keys in LabelMe's order."""
    flags, others = _told_apart(image.tags)
    return {
        "version": _VERSION,
        "flags": flags,
        "shapes": [
            record
            for shape in image.shapes
            if (record := _record(shape, (image.height, image.width))) is not None
        ],
        "imagePath": image.name.rsplit("/", 1)[-1],
        "imageData": None,
        "imageHeight": image.height,
        "imageWidth": image.width,
        **others,
    }


def _record(shape: Shape, size: tuple[int, int]) -> dict[str, Any] | None:
    """One shape, or None when it covers no pixel of the image and cannot be said."""
    drawn = _drawn(shape.geometry, size)
    if drawn is None:
        return None
    kind, points, extras = drawn
    flags, others = _told_apart(shape.attributes)
    flags |= {"occluded": True} if shape.occluded else {}
    others |= {"score": shape.score} if shape.score is not None else {}
    return {
        "label": _IGNORE if shape.label == IGNORED else shape.label,
        "points": np.asarray(points, np.float64).tolist(),
        "group_id": shape.group,
        "description": "",
        "shape_type": kind,
        "flags": flags,
        "mask": None,
        **others,
        **extras,
    }


def _told_apart(facts: Mapping[str, Any]) -> tuple[dict[str, bool], dict[str, Any]]:
    """Flags, and what else there is with the keys that it is written under."""
    flags = {name: value for name, value in facts.items() if isinstance(value, bool)}
    others: dict[str, Any] = {name: value for name, value in facts.items() if name not in flags}
    written: dict[str, Any] = {}
    if isinstance(others.get("description"), str):
        written["description"] = others.pop("description")
    return flags, written | ({"attributes": others} if others else {})


def _drawn(geometry: Geometry, size: tuple[int, int]) -> tuple[str, Any, dict[str, Any]] | None:
    """(shape type, points, further keys) of a geometry."""
    match geometry:
        case Box(angle=0):
            return "rectangle", [(geometry.x0, geometry.y0), (geometry.x1, geometry.y1)], {}
        case Box():
            corners = box_corners(geometry).round(9)  # computed, so that the last digits would never settle
            return "oriented_rectangle", corners, {}
        case Ellipse() if geometry.rx == geometry.ry:
            rim = geometry.cx + geometry.rx, geometry.cy
            return "circle", [(geometry.cx, geometry.cy), rim], {}
        case Polyline():
            kind = "line" if len(geometry.points) == 2 else "linestrip"
            extra = {} if geometry.width == LINE_WIDTH else {"line_width": float(geometry.width)}
            return kind, geometry.points, extra
        case Points():
            kind, usual = ("point", POINT_SIZE) if len(geometry.points) == 1 else ("points", 0.0)
            extra = {} if geometry.radius == usual else {"point_size": float(geometry.radius)}
            return kind, geometry.points, extra
        case Bitmap():
            return _drawn_mask(as_pixels(geometry, *size))
        case _:
            rings = to_polygon(geometry, *size).rings
            return ("polygon", rings[0].exterior, {}) if rings else None


def _drawn_mask(bitmap: Bitmap) -> tuple[str, Any, dict[str, Any]] | None:
    if not bitmap.width or not bitmap.height:
        return None
    file = io.BytesIO()
    Image.fromarray(bitmap_window(bitmap) != 0).save(file, "PNG")
    last = bitmap.x + bitmap.width - 1, bitmap.y + bitmap.height - 1  # the corners are pixels, both included
    return "mask", [(bitmap.x, bitmap.y), last], {"mask": base64.b64encode(file.getvalue()).decode()}
