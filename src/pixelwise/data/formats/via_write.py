"""VIA, written: ``via_project.json``, which VIA 2 opens with Project, Load.

Source: see :mod:`pixelwise.data.formats.via`. The label is a region attribute of its own, a dropdown with the
classes; lists among the attributes become checkboxes. VIA asks nothing but the project: the images are named
relative to ``images/``, its ``default_filepath``.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pixelwise.data.adapt import Holds
from pixelwise.data.annotations import AnnotatedImage, Document
from pixelwise.io import write_text
from pixelwise.labels import LabelMap
from pixelwise.shapes import Box, Ellipse, Geometry, Points, Polygon, Polyline, Vertices

HOLDS = Holds(
    kinds=frozenset({"polygon", "box", "ellipse", "polyline", "points"}),
    turned_ellipses=True,
    attributes=True,
    tags=True,
    ignored=True,
)
"""Holes become keyholes. A shape of several points becomes a region for each."""

_FOLDER = "images/"
_LABEL_KEYS = ("label", "class", "class_name")
_UI = {
    "annotation_editor_height": 25,
    "annotation_editor_fontsize": 0.8,
    "leftsidebar_width": 18,
    "image_grid": {
        "img_height": 80,
        "rshape_fill": "none",
        "rshape_fill_opacity": 0.3,
        "rshape_stroke": "yellow",
        "rshape_stroke_width": 2,
        "show_region_shape": True,
        "show_image_policy": "all",
    },
}
"""The settings that VIA 2 begins with."""


def tidy_name(name: str) -> str:
    """Any relative name will do."""
    return name


def image_path(image: AnnotatedImage) -> str:
    """``images/<name>``."""
    return f"{_FOLDER}{image.name}"


def save(document: Document, path: Path, labels: LabelMap) -> None:
    """Write ``via_project.json`` beside ``images/``."""
    key = _label_key(document.images)
    records: dict[str, Any] = {}
    for image in document.images:
        size = image.path.stat().st_size if image.path is not None and image.path.is_file() else -1
        records[f"{image.name}{size}"] = {
            "filename": image.name,
            "size": size,
            "regions": [
                {
                    "shape_attributes": place,
                    "region_attributes": {key: shape.label} | _stored(shape.attributes),
                }
                for shape in image.shapes
                for place in _places(shape.geometry)
            ],
            "file_attributes": _stored(image.tags),
        }
    shapes = [shape for image in document.images for shape in image.shapes]
    names = [*dict.fromkeys([*labels.names, *(shape.label for shape in shapes)])]
    label = {"type": "dropdown", "description": "", "options": {name: name for name in names}}
    shown = {"region_label": key, "region_color": key, "region_label_font": "10px Sans"}
    shown["on_image_annotation_editor_placement"] = "NEAR_REGION"
    project = {
        "_via_settings": {
            "ui": _UI | {"image": shown},
            "core": {"buffer_size": 18, "filepath": {}, "default_filepath": _FOLDER},
            "project": {"name": "pixelwise"},
        },
        "_via_img_metadata": records,
        "_via_attributes": {
            "region": {key: label | {"default_options": {}}}
            | _declared(shape.attributes for shape in shapes),
            "file": _declared(image.tags for image in document.images),
        },
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": [*records],
    }
    # In one line, as VIA writes it, which is several times faster; half characters that JSON can hold and
    # UTF-8 cannot become question marks.
    text = json.dumps(project, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")
    write_text(path / "via_project.json", text + "\n")


def _label_key(images: Sequence[AnnotatedImage]) -> str:
    """A name for the attribute with the label that no other attribute has."""
    taken = {name for image in images for shape in image.shapes for name in shape.attributes}
    return next((key for key in _LABEL_KEYS if key not in taken), "pixelwise_class")


def _is_choice(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _stored(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as VIA keeps them: lists of text as options that are on, what is nested as text."""
    return {name: _value(value) for name, value in attributes.items()}


def _value(value: Any) -> Any:
    if _is_choice(value):
        return dict.fromkeys(value, True)
    if isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _declared(held: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What VIA has to know of attributes: which options there are, or that they are text."""
    options: dict[str, dict[str, str] | None] = {}
    found: dict[str, list[Any]] = defaultdict(list)
    for attributes in held:
        for name, value in attributes.items():
            found[name].append(value)
    for name, values in found.items():
        choices = all(_is_choice(value) for value in values)
        options[name] = {option: option for value in values for option in value} if choices else None
    return {
        name: {"type": "text", "description": "", "default_value": ""}
        if choices is None
        else {"type": "checkbox", "description": "", "options": choices, "default_options": {}}
        for name, choices in options.items()
    }


def _places(geometry: Geometry) -> list[dict[str, Any]]:
    """The ``shape_attributes`` of a geometry; a region for each of several points."""
    if isinstance(geometry, Polygon):
        return [{"name": "polygon"} | _outline(ring.exterior) for ring in geometry.rings]
    if isinstance(geometry, Polyline):
        return [{"name": "polyline"} | _outline(geometry.points)]
    if isinstance(geometry, Points):
        return [{"name": "point", "cx": _number(x), "cy": _number(y)} for x, y in geometry.points]
    if isinstance(geometry, Box):
        x, y, width, height = map(
            _number, (geometry.x0, geometry.y0, geometry.x1 - geometry.x0, geometry.y1 - geometry.y0)
        )
        return [{"name": "rect", "x": x, "y": y, "width": width, "height": height}]
    assert isinstance(geometry, Ellipse)
    centre = {"cx": _number(geometry.cx), "cy": _number(geometry.cy)}
    if geometry.rx == geometry.ry and not geometry.angle:
        return [{"name": "circle"} | centre | {"r": _number(geometry.rx)}]
    radii = {"rx": _number(geometry.rx), "ry": _number(geometry.ry)}
    return [{"name": "ellipse"} | centre | radii | {"theta": math.radians(geometry.angle)}]


def _outline(points: Vertices) -> dict[str, list[float]]:
    x, y = points.T.tolist()
    return {"all_points_x": [*map(_number, x)], "all_points_y": [*map(_number, y)]}


def _number(value: float) -> float:
    """A millionth of a pixel is enough, and whole numbers stay whole."""
    rounded = round(float(value), 6)
    return int(rounded) if rounded.is_integer() else rounded
