"""CVAT XML 1.1, written: "CVAT for images 1.1", or "CVAT for video 1.1" where there are tracks.

Source: see :mod:`pixelwise.data.formats.cvat`. The format for video has one size of frames, no subsets and no
tags. Where tracks do not fit into that, the format for images is written and the number of a track becomes
the attribute ``track_id``, which is read back as one.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from pixelwise.data.adapt import Holds
from pixelwise.data.annotations import AnnotatedImage, Document
from pixelwise.data.formats.cvat import FRAME_NAME
from pixelwise.data.geometry import as_pixels
from pixelwise.data.raster import bitmap_window, rasterise, to_bitmap
from pixelwise.io import write_text
from pixelwise.io.labelfiles import is_void
from pixelwise.kernels.runs import encode_runs
from pixelwise.labels import LabelMap
from pixelwise.shapes import Bitmap, Box, Ellipse, Points, Polygon, Polyline, Shape

HOLDS = Holds(
    kinds=frozenset({"polygon", "bitmap", "box", "ellipse", "polyline", "points"}),
    turned_boxes=True,
    turned_ellipses=True,
    groups=True,
    tracks=True,
    order=True,
    occlusion=True,
    attributes=True,
    tags=True,
    ignored=True,
    splits=True,
)
"""Polygons with holes become masks. Lists among the attributes come back as text."""

_SUBSETS = {"train": "Train", "val": "Validation", "test": "Test"}  # as CVAT offers them
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_Types = Mapping[tuple[str, str], str]


def tidy_name(name: str) -> str:
    """Any relative name will do."""
    return name


def image_path(image: AnnotatedImage) -> str:
    """``images/<subset>/<name>``."""
    subset = _subset(image)
    return f"images/{subset}/{image.name}" if subset else f"images/{image.name}"


def save(document: Document, path: Path, labels: LabelMap) -> None:
    """Write ``annotations.xml`` beside ``images/``."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    document = replace(document, images=_with_groups_from_1(document.images))
    as_video = _fits_video(document.images)
    if not as_video:
        document = replace(document, images=[*map(_with_track_attributes, document.images)])
    types = _attribute_types(document.images)
    meta = SubElement(root, "meta")
    if as_video:
        _add_video(root, meta, document.images, labels, types)
    else:
        _add_meta(meta, document.images, labels, types)
        for number, image in enumerate(document.images):
            _add_image(root, number, image, types)
    indent(root, "  ")
    text = tostring(root, encoding="unicode")
    write_text(path / "annotations.xml", f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')


def _subset(image: AnnotatedImage) -> str:
    return _SUBSETS.get(image.split, image.split) if image.split else ""


def _with_groups_from_1(images: Sequence[AnnotatedImage]) -> list[AnnotatedImage]:
    """The images with other numbers of groups, where there is a 0, which to CVAT is no group."""
    groups = [shape.group for image in images for shape in image.shapes if shape.group is not None]
    lowest = min(groups, default=1)
    if lowest > 0:
        return list(images)

    def moved(shape: Shape) -> Shape:
        return shape if shape.group is None else replace(shape, group=shape.group + 1 - lowest)

    return [replace(image, shapes=[*map(moved, image.shapes)]) for image in images]


def _fits_video(images: Sequence[AnnotatedImage]) -> bool:
    """Whether there are tracks, and nothing else that the format for video cannot hold."""
    tracked = any(shape.track is not None for image in images for shape in image.shapes)
    return (
        tracked
        and len({(i.height, i.width, i.split, bool(i.tags)) for i in images}) == 1
        and not (images[0].split or images[0].tags)
    )


def _with_track_attributes(image: AnnotatedImage) -> AnnotatedImage:
    def named(shape: Shape) -> Shape:
        if shape.track is None:
            return shape
        return replace(shape, attributes=shape.attributes | {"track_id": shape.track})

    return replace(image, shapes=[*map(named, image.shapes)])


def _attribute_types(images: Sequence[AnnotatedImage]) -> _Types:
    """The input type that holds all values of each attribute of each label."""
    kinds: dict[tuple[str, str], set[str]] = defaultdict(set)
    for image in images:
        held: list[tuple[str, Mapping[str, Any]]] = [
            (shape.label, shape.attributes) for shape in image.shapes
        ]
        held += [(name, _tag_attributes(value)) for name, value in image.tags.items()]
        for label, attributes in held:
            for name, value in attributes.items():
                kinds[label, name].add(_input_type(value))
    return {key: kind.pop() if len(kind) == 1 else "text" for key, kind in kinds.items()}


def _input_type(value: Any) -> str:
    if isinstance(value, bool):
        return "checkbox"
    is_number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return "number" if is_number else "text"


def _text(value: Any) -> str:
    """The text of an attribute's value.

    >>> _text(True), _text(2.5), _text("a"), _text(["a", "b"])
    ('true', '2.5', 'a', '["a", "b"]')
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return _clean(text)


def _clean(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return _NOT_XML.sub("", text)


def _number(value: float) -> str:
    """At most six decimals, none that say nothing.

    >>> _number(1.0), _number(0.25)
    ('1', '0.25')
    """
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _pairs(points: np.ndarray) -> str:
    return ";".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _add_texts(parent: Element, texts: Mapping[str, Any]) -> None:
    for name, text in texts.items():
        SubElement(parent, name).text = _clean(str(text))


def _add_meta(
    meta: Element, images: Sequence[AnnotatedImage], labels: LabelMap, types: _Types, **facts: Any
) -> Element:
    """The description of a task; of a project where there are subsets."""
    subsets = [*dict.fromkeys(filter(None, map(_subset, images)))]
    task = SubElement(meta, "project" if subsets else "task")
    _add_texts(task, {"name": "pixelwise"} | facts)
    if subsets:
        _add_texts(task, {"subsets": "\n".join(subsets)})
    else:
        _add_texts(task, {"size": len(images)})
    colours = {name: f"#{bytes(c).hex()}" for name, c in zip(labels.names, labels.colours, strict=True)}
    used = dict.fromkeys(shape.label for image in images for shape in image.shapes)
    tags = dict.fromkeys(name for image in images for name in image.tags)
    listed = SubElement(task, "labels")
    # Names that are no class stay undeclared: they would become classes of whoever reads the file.
    for name in (*labels.names, *(name for name in used if is_void(name))):
        _add_label(listed, name, colours.get(name, "#ffffff"), "any", types)
    for name in tags:
        if name not in labels.names:
            _add_label(listed, name, "#ffffff", "tag", types)
    return task


def _add_label(parent: Element, name: str, colour: str, kind: str, types: _Types) -> None:
    label = SubElement(parent, "label")
    _add_texts(label, {"name": name, "color": colour, "type": kind})
    attributes = SubElement(label, "attributes")
    for (owner, attribute), input_type in types.items():
        if owner == name:
            values = {"checkbox": "false", "number": "0\n1000000\n1"}.get(input_type, "")
            described = {"name": attribute, "mutable": True, "input_type": input_type}
            default = {"default_value": values.split("\n")[0], "values": values}
            _add_texts(SubElement(attributes, "attribute"), described | default)


def _add_image(root: Element, number: int, image: AnnotatedImage, types: _Types) -> None:
    facts = {"id": str(number), "name": _clean(image.name)}
    if image.split:
        facts["subset"] = _clean(_subset(image))
    element = SubElement(root, "image", facts | {"width": str(image.width), "height": str(image.height)})
    for shape in image.shapes:
        child = _geometry_element(shape, image.height, image.width)
        if child is None:
            continue
        child.attrib = {"label": _clean(shape.label), "source": "file"} | child.attrib
        if shape.group is not None:
            child.set("group_id", str(shape.group))
        _add_attributes(child, shape.attributes)
        element.append(child)
    for name, value in image.tags.items():
        tag = SubElement(element, "tag", {"label": _clean(name), "source": "file"})
        _add_attributes(tag, _tag_attributes(value))


def _tag_attributes(value: Any) -> Mapping[str, Any]:
    if value is True:
        return {}
    return value if isinstance(value, Mapping) else {"value": value}


def _add_attributes(element: Element, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        SubElement(element, "attribute", {"name": _clean(str(name))}).text = _text(value)


def _geometry_element(shape: Shape, height: int, width: int) -> Element | None:
    """The element of a shape with its place; None when it covers nothing that the format can name."""
    geometry = shape.geometry
    if isinstance(geometry, Polygon):
        if not geometry.rings:
            return None
        facts = {"points": _pairs(geometry.rings[0].exterior)}
    elif isinstance(geometry, Box):
        places = (geometry.x0, geometry.y0, geometry.x1, geometry.y1)
        facts = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(_number, places), strict=True))
    elif isinstance(geometry, Ellipse):
        places = (geometry.cx, geometry.cy, geometry.rx, geometry.ry)
        facts = dict(zip(("cx", "cy", "rx", "ry"), map(_number, places), strict=True))
    elif isinstance(geometry, Polyline | Points):
        facts = {"points": _pairs(geometry.points)}
    else:
        bitmap = as_pixels(geometry, height, width)
        if not bitmap.runs[1::2].any():
            return None
        # The columns of the mask on its side are its rows.
        runs = encode_runs(bitmap_window(bitmap).T)
        facts = {"rle": ", ".join(map(str, runs.tolist())), "left": str(bitmap.x), "top": str(bitmap.y)}
        facts |= {"width": str(bitmap.width), "height": str(bitmap.height)}
    if angle := getattr(geometry, "angle", 0.0):
        facts["rotation"] = _number(angle)
    tag = "mask" if isinstance(geometry, Bitmap) else shape.kind
    return Element(tag, {"occluded": str(int(shape.occluded))} | facts | {"z_order": str(shape.z)})


@dataclass
class _Track:
    """One thing, with its shape in each frame where it is seen."""

    label: str
    number: int | None
    shapes: dict[int, Shape] = field(default_factory=dict)


def _add_video(
    root: Element, meta: Element, images: Sequence[AnnotatedImage], labels: LabelMap, types: _Types
) -> None:
    numbers = _frame_numbers(images)
    grid = sorted(numbers)
    step = math.gcd(*(after - now for now, after in pairwise(grid))) or 1
    facts: dict[str, Any] = {"mode": "interpolation", "start_frame": grid[0], "stop_frame": grid[-1]}
    task = _add_meta(meta, images, labels, types, **facts, frame_filter=f"step={step}" if step > 1 else "")
    height, width = images[0].height, images[0].width
    _add_texts(SubElement(task, "original_size"), {"width": width, "height": height})
    tracks = _tracks([image for _, image in sorted(zip(numbers, images, strict=True), key=_first)], grid)
    taken = {track.number for track in tracks}
    free = (number for number in count() if number not in taken)
    given: set[int] = set()
    for track in tracks:
        number = next(free) if track.number is None or track.number in given else track.number
        given.add(number)
        _add_track(root, number, track, grid, (height, width))


def _first(pair: tuple[int, AnnotatedImage]) -> int:
    return pair[0]


def _frame_numbers(images: Sequence[AnnotatedImage]) -> list[int]:
    """The frame of each image: by its name, else its place among the sorted names, as CVAT counts them."""
    matches = [FRAME_NAME.fullmatch(Path(image.name).stem) for image in images]
    numbers = [int(match[1]) for match in matches if match]
    if len(set(numbers)) == len(images):
        return numbers
    order = sorted(range(len(images)), key=lambda i: Path(images[i].name))
    places: list[int] = np.argsort(order).tolist()
    return places


def _tracks(images: Sequence[AnnotatedImage], grid: Sequence[int]) -> list[_Track]:
    """The tracks of a video; a shape without one becomes a track of a single frame."""
    tracks: dict[Any, _Track] = {}
    parts: dict[Any, dict[int, list[Shape]]] = defaultdict(lambda: defaultdict(list))
    orders: dict[int, list[Any]] = {}
    for frame, image in zip(grid, images, strict=True):
        lines = 0
        order: dict[Any, int] = {}
        for position, shape in enumerate(image.shapes):
            lines += shape.kind == "polyline"  # these cannot be united, so that each is a track
            family = {"polyline": f"line {lines}", "points": "points"}.get(shape.kind, "area")
            key = (frame, position) if shape.track is None else (shape.track, shape.label, family)
            tracks.setdefault(key, _Track(shape.label, shape.track))
            parts[key][frame].append(shape)
            order.setdefault(key, shape.z)
        orders[frame] = sorted(order, key=order.__getitem__)
    size = (images[0].height, images[0].width)
    for key, track in tracks.items():
        track.shapes = _united(parts[key], size)
    rank = {key: number for number, key in enumerate(tracks)}
    for frame, keys in orders.items():
        # The file lists tracks, not frames: where that order is another one, z has to say it.
        if sorted(keys, key=lambda key: (tracks[key].shapes[frame].z, rank[key])) != keys:  # noqa: B023
            for z, key in enumerate(keys):
                tracks[key].shapes[frame].z = z
    return list(tracks.values())


def _united(parts: Mapping[int, list[Shape]], size: tuple[int, int]) -> dict[int, Shape]:
    """One shape a frame, all of one kind, as a track must have them; pixels where it takes that."""
    kinds = {shape.kind for shapes in parts.values() for shape in shapes}
    single = all(len(shapes) == 1 for shapes in parts.values())
    united = {}
    for frame, shapes in parts.items():
        geometry = shapes[0].geometry
        if isinstance(geometry, Points):
            every = [s.geometry.points for s in shapes if isinstance(s.geometry, Points)]
            geometry = replace(geometry, points=np.concatenate(every))
        elif len(kinds) > 1 or not single:
            geometry = to_bitmap(np.any([rasterise(shape.geometry, *size) for shape in shapes], axis=0))
        united[frame] = replace(shapes[0], geometry=geometry)
    return united


def _add_track(root: Element, number: int, track: _Track, grid: Sequence[int], size: tuple[int, int]) -> None:
    element = SubElement(root, "track", {"id": str(number), "label": _clean(track.label), "source": "file"})
    group = next(iter(track.shapes.values())).group
    if group is not None:
        element.set("group_id", str(group))
    children: dict[int, Element] = {}
    for frame, shape in track.shapes.items():
        child = _geometry_element(shape, *size)
        if child is not None:
            _add_attributes(child, shape.attributes)
            children[frame] = child
    for frame, after in zip(grid, [*grid[1:], None], strict=True):
        if frame not in children:
            continue
        element.append(_at(children[frame], frame, outside=False))
        if after is not None and after not in children:
            element.append(_at(children[frame], after, outside=True))
    if len(element) == 0:
        root.remove(element)


def _at(element: Element, frame: int, outside: bool) -> Element:
    """A copy of an element of a track, for one frame."""
    copied = deepcopy(element)
    copied.attrib = {"frame": str(frame), "keyframe": "1", "outside": str(int(outside))} | element.attrib
    return copied
