"""The files of the VGG Image Annotator: every kind of them, read into one list of images with regions.

Source: the VIA software (gitlab.com/vgg/via), versions 1, 2 and 3 with data format 3.1.1. Versions 1 and 2
name what a region is (``shape_attributes.name``), version 3 numbers it (the first item of ``xy``).
Coordinates are those of the picture's canvas, taken as corners; ``theta`` of ellipses is in radians.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.data.annotations import Findings, finite
from pixelwise.errors import DataError
from pixelwise.io.documents import parse_json, read_text
from pixelwise.io.video import VIDEO_SUFFIXES
from pixelwise.shapes import Box, Ellipse, Geometry, Points, Polygon, Polyline

SUFFIXES = (".json", ".csv", ".js")
_SCRIPT = re.compile(r"\s*(?:var\s+|let\s+|const\s+)?_via_dp\s*=\s*")
_LONGEST_CELL = 2**30
_CHECKBOX, _VIDEO_FILE, _AUDIO_FILE, _INLINE = 2, 4, 8, 4  # numbers of version 3


@dataclass(slots=True)
class Region:
    """One region with its attributes, their options already put into words."""

    geometry: Geometry
    attributes: dict[str, Any]
    where: str


@dataclass(slots=True)
class Entry:
    """One image, or the frame of a video at ``seconds``."""

    name: str
    prefix: str
    where: str
    regions: list[Region] = field(default_factory=list)
    tags: dict[str, Any] = field(default_factory=dict)
    embedded: bytes | None = None
    seconds: float | None = None


@dataclass(slots=True)
class Attribute:
    """What may be said of regions or files: the options by their id, in order; empty for free text."""

    options: dict[str, str] = field(default_factory=dict)
    many: bool = False

    def value(self, raw: Any) -> Any:
        """A stored value in words: text, a number, a boolean, or a list of options.

        >>> Attribute({"bc": "Benedict", "x": ""}).value("bc"), Attribute({"x": ""}).value("x")
        ('Benedict', 'x')
        >>> Attribute({"w": "wet", "d": "dark"}).value({"d": True, "w": False})
        ['dark']
        """
        if isinstance(raw, Mapping):
            return [self._word(key) for key, on in raw.items() if on not in (False, None, "", "false", 0)]
        if isinstance(raw, list):
            return [self._word(item) for item in raw if isinstance(item, str | int | float)]
        if self.many and isinstance(raw, str):
            return [self._word(key) for key in raw.split(",") if key]
        if isinstance(raw, bool | float) or (isinstance(raw, int) and str(raw) not in self.options):
            return raw
        return "" if raw is None else self._word(raw)

    def _word(self, key: Any) -> str:
        return self.options.get(str(key)) or str(key)


class Contents:
    """What one or several files of VIA hold.

    Attributes
    ----------
    entries
        The images, in the order of the files.
    regions, files
        The attributes that are declared, by name.
    shown
        The attribute that VIA shows beside each region, where a project says so.
    """

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.entries: list[Entry] = []
        self.regions: dict[str, Attribute] = {}
        self.files: dict[str, Attribute] = {}
        self.shown = ""

    def read(self, path: Path, name: str) -> None:
        """Add a file; ``name`` is what messages call it. DataError when it cannot be one of VIA."""
        text = read_text(path)
        if path.suffix.lower() == ".csv":
            self._read_csv(text, path, name)
            return
        script = _SCRIPT.match(text)
        data = parse_json(text[script.end() :].rstrip().rstrip(";") if script else text, str(path))
        kind = kind_of(data)
        if kind == "v3":
            self._read_v3(data, name)
        elif kind == "project":
            self._read_project(data, name)
        elif kind == "images":
            self._read_images(data, "", name)
        elif kind == "attributes":
            self._declare_attributes(data)
        else:
            raise DataError(
                f"{path}: expected a project or annotations of VIA, found other JSON; "
                "save the project in VIA, or export its annotations as JSON"
            )

    # Versions 1 and 2

    def _read_project(self, data: dict[str, Any], name: str) -> None:
        settings = _mapping(data.get("_via_settings"))
        image_settings = _mapping(_mapping(settings.get("ui")).get("image"))
        self.shown = str(image_settings.get("region_label") or self.shown)
        self._declare_attributes(_mapping(data.get("_via_attributes")))
        prefix = _mapping(settings.get("core")).get("default_filepath")
        images = data.get("_via_img_metadata")
        if not isinstance(images, dict):
            raise DataError(f"{name}: expected _via_img_metadata to hold the images by name; save it again")
        self._read_images(images, prefix if isinstance(prefix, str) else "", name)

    def _declare_attributes(self, declared: Mapping[str, Any]) -> None:
        _declare(self.regions, declared.get("region"))
        _declare(self.files, declared.get("file"))

    def _read_images(self, images: dict[str, Any], prefix: str, name: str) -> None:
        for key, image in images.items():
            where = f"{name}: {key[:80]}"
            if not isinstance(image, dict) or not _is_name(image.get("filename")):
                message = "records without a file name, left out"
                self.findings.add("bad_record", message, where, "export the annotations again")
                continue
            entry = Entry(image["filename"], prefix, where, embedded=self._embedded(image, where))
            entry.tags = self._tags(image.get("file_attributes"))
            for number, region in enumerate(self._region_list(image.get("regions"), where)):
                if isinstance(region, dict):
                    shape, attributes = region.get("shape_attributes"), region.get("region_attributes")
                    self._add_named(entry, shape, attributes, f"{where}, region {number}")
                else:
                    self._note_bad(f"{where}, region {number}: expected an object, found {region!r:.60}")
            self.entries.append(entry)

    def _region_list(self, regions: Any, where: str) -> list[Any]:
        if isinstance(regions, dict):  # version 1
            return list(regions.values())
        if not isinstance(regions, list) and regions is not None:
            self._note_bad(f"{where}: expected a list of regions, found {regions!r:.60}")
        return regions if isinstance(regions, list) else []

    def _embedded(self, image: dict[str, Any], where: str) -> bytes | None:
        """The picture itself, as version 1 may keep it."""
        text = image.get("base64_img_data")
        return self._decode(text, where) if isinstance(text, str) and text else None

    def _decode(self, text: str, where: str) -> bytes | None:
        try:
            return base64.b64decode(text.rpartition("base64,")[2].encode("ascii"))
        except (binascii.Error, UnicodeEncodeError):
            self.findings.add("bad_picture", "embedded images that cannot be decoded", where)
            return None

    def _tags(self, attributes: Any) -> dict[str, Any]:
        return _worded(self.files, attributes)

    def _add_named(self, entry: Entry, shape: Any, attributes: Any, where: str) -> None:
        """Add a region of version 1 or 2."""
        shape = _mapping(shape)
        kind = shape.get("name")
        if not isinstance(kind, str) or kind not in _NAMED:
            self._note_unknown(kind, where)
            return
        try:
            geometry = _NAMED[kind](shape, where)
        except DataError as error:
            self._note_bad(str(error))
            return
        entry.regions.append(Region(geometry, _worded(self.regions, attributes), where))

    def _read_csv(self, text: str, path: Path, name: str) -> None:
        rows = _rows(text, path)
        if text.startswith(("# ", "#\t")):
            self._read_v3_csv(text, rows, name)
            return
        header = [cell.strip().lstrip("#").strip() for cell in next(rows, [])]
        if not {"filename", "region_shape_attributes", "region_attributes"} <= set(header):
            raise DataError(
                f"{path}: expected the columns filename, region_shape_attributes and region_attributes of "
                f"VIA, found {', '.join(header)[:200] or 'nothing'}; export the annotations as CSV again"
            )
        found: dict[tuple[str, str], Entry] = {}
        for number, row in enumerate(rows, 2):
            where = f"{name}: row {number}"
            if not row:
                continue
            if len(row) != len(header):
                self._note_bad(f"{where}: expected {len(header)} columns, found {len(row)}")
                continue
            cells = dict(zip(header, row, strict=True))
            if not _is_name(cells["filename"]):
                self.findings.add("bad_record", "records without a file name, left out", where)
                continue
            try:
                shape, attributes, tags = (
                    _object(cells.get(column, "{}"), f"{where}: {column}")
                    for column in ("region_shape_attributes", "region_attributes", "file_attributes")
                )
            except DataError as error:
                self._note_bad(str(error))
                continue
            key = (cells["filename"], cells.get("file_size", ""))
            if key not in found:
                found[key] = Entry(cells["filename"], "", f"{name}: {cells['filename']}")
                found[key].tags = self._tags(tags)
                self.entries.append(found[key])
            if shape or cells.get("region_count", "1").strip() != "0":
                self._add_named(found[key], shape, attributes, where)

    # Version 3

    def _read_v3(self, data: dict[str, Any], name: str) -> None:
        declared = _mapping(data.get("attribute"))
        files, views = _mapping(data.get("file")), _mapping(data.get("view"))
        settings = _mapping(data.get("config"))
        prefixes = _mapping(_mapping(settings.get("file")).get("loc_prefix"))
        names = self._declare_v3(declared)
        shown = _mapping(settings.get("ui")).get("spatial_region_label_attribute_id")
        self.shown = names.get(str(shown), self.shown)
        by_view: dict[str, dict[str, Any]] = {}
        for view_id, view in views.items():
            ids = _mapping(view).get("fid_list")
            ids = ids if isinstance(ids, list) else []
            if len(ids) > 1:
                message = "views of several files, of which the first one counts"
                self.findings.add("view_of_many", message, f"{name}: view {view_id}")
            by_view[view_id] = _mapping(files.get(str(ids[0]))) if ids else {}
        entries: dict[tuple[str, float | None], Entry] = {}
        for view_id, file in by_view.items():
            where = f"{name}: view {view_id}"
            if not _is_name(file.get("fname")):
                self.findings.add("bad_record", "records without a file name, left out", where)
            elif file.get("type") not in (_VIDEO_FILE, _AUDIO_FILE):
                entries[view_id, None] = self._entry_v3(file, prefixes, where)
        for key, record in _mapping(data.get("metadata")).items():
            where = f"{name}: metadata {key}"
            record = _mapping(record)
            file = by_view.get(str(record.get("vid")), {})
            if not _is_name(file.get("fname")):
                self.findings.add("bad_record", "records that belong to no file, left out", where)
                continue
            moving = file.get("type") in (_VIDEO_FILE, _AUDIO_FILE)
            seconds = self._seconds(record.get("z"), moving, where)
            if seconds is None and moving:
                continue
            place = (str(record.get("vid")), seconds)
            entry = entries.setdefault(place, self._entry_v3(file, prefixes, f"{name}: view {place[0]}"))
            entry.seconds = seconds
            self._add_numbered(entry, record.get("xy"), _named_values(record.get("av"), names), where)
        self.entries += entries.values()

    def _declare_v3(self, declared: Mapping[str, Any]) -> dict[str, str]:
        """Note the attributes, for regions and for files; returns their names by id."""
        names = {}
        for key, attribute in declared.items():
            attribute = _mapping(attribute)
            names[key] = str(attribute.get("aname") or key)
            known = Attribute(_options(attribute.get("options")), attribute.get("type") == _CHECKBOX)
            # An anchor ends in XY0 when it is about whole files or frames.
            about_files = str(attribute.get("anchor_id", "")).endswith("XY0")
            (self.files if about_files else self.regions)[names[key]] = known
        return names

    def _entry_v3(self, file: Mapping[str, Any], prefixes: Mapping[str, Any], where: str) -> Entry:
        entry = Entry(file["fname"], str(prefixes.get(str(file.get("loc"))) or ""), where)
        source = file.get("src")
        if file.get("loc") == _INLINE and isinstance(source, str) and source.startswith("data:"):
            entry.embedded = self._decode(source, where)
        return entry

    def _seconds(self, times: Any, moving: bool, where: str) -> float | None:
        """The time of a video's frame; None for an image, or for what is no single frame."""
        times = times if isinstance(times, list) else []
        if len(times) == 1 and moving:
            try:
                return float(finite(times, where)[0])
            except DataError as error:
                self._note_bad(str(error))
                return None
        if moving or times:
            message = "descriptions of a stretch of time or of a whole video, left out"
            self.findings.add("time_segment", message, where, "annotate single frames")
        return None

    def _add_numbered(self, entry: Entry, xy: Any, attributes: dict[str, Any], where: str) -> None:
        """Add a region of version 3, or what is said of the whole image."""
        if not isinstance(xy, list) or not xy:
            entry.tags |= _worded(self.files, attributes)
            return
        if not isinstance(xy[0], int) or xy[0] not in _NUMBERED:
            self._note_unknown(xy[0], where)
            return
        kind, at_least = _NUMBERED[xy[0]]
        try:
            geometry = kind(finite(xy[1:], where, at_least), where)
        except DataError as error:
            self._note_bad(str(error))
            return
        entry.regions.append(Region(geometry, _worded(self.regions, attributes), where))

    def _read_v3_csv(self, text: str, rows: Iterator[list[str]], name: str) -> None:
        header: list[str] = []
        names: dict[str, str] = {}
        for line in text.splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "# ATTRIBUTE":
                names = self._declare_v3(_mapping(_object(value, f"{name}: ATTRIBUTE")))
            elif key.strip() == "# CSV_HEADER":
                header = [cell.strip() for cell in value.split(",")]
        if not {"file_list", "temporal_coordinates", "spatial_coordinates", "metadata"} <= set(header):
            raise DataError(
                f"{name}: expected a line '# CSV_HEADER = metadata_id,file_list,...' of VIA 3, found none; "
                "export the annotations as CSV again"
            )
        entries: dict[tuple[str, float | None], Entry] = {}
        for number, row in enumerate(rows, 1):
            where = f"{name}: row {number}"
            if not row or row[0].lstrip().startswith("#"):
                continue
            if len(row) != len(header):
                self._note_bad(f"{where}: expected {len(header)} columns, found {len(row)}")
                continue
            cells = dict(zip(header, row, strict=True))
            try:
                files, times, xy = (
                    parse_json(cells[column], f"{where}: {column}")
                    for column in ("file_list", "temporal_coordinates", "spatial_coordinates")
                )
                values = _object(cells["metadata"], f"{where}: metadata")
            except DataError as error:
                self._note_bad(str(error))
                continue
            if not isinstance(files, list) or not files or not _is_name(files[0]):
                self.findings.add("bad_record", "records that belong to no file, left out", where)
                continue
            moving = Path(files[0]).suffix.lower() in VIDEO_SUFFIXES
            seconds = self._seconds(times, moving, where)
            if seconds is None and moving:
                continue
            place = (files[0], seconds)
            entry = entries.setdefault(place, Entry(files[0], "", f"{name}: {files[0]}", seconds=seconds))
            self._add_numbered(entry, xy, _named_values(values, names), where)
        self.entries += entries.values()

    def _note_bad(self, message: str) -> None:
        fix = "mend them in VIA and export again"
        self.findings.add("bad_shape", "regions that cannot be read, left out", message, fix)

    def _note_unknown(self, kind: Any, where: str) -> None:
        message = f"regions of the unknown kind {str(kind)[:40]!r}, left out"
        self.findings.add("unknown_shape", message, where)


def kind_of(data: Any) -> str:
    """The kind of VIA's JSON: ``v3``, ``project``, ``images``, ``attributes``, or an empty string."""
    if not isinstance(data, dict):
        return ""
    if {"project", "attribute", "file", "view", "metadata"} <= data.keys():
        return "v3"
    if "_via_img_metadata" in data:
        return "project"
    if data.keys() == {"region", "file"}:
        return "attributes"
    records = [value for value in data.values() if isinstance(value, dict)]
    if records and {"filename", "regions"} <= records[0].keys():
        return "images"
    return ""


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _options(options: Any) -> dict[str, str]:
    return {key: str(text or key) for key, text in _mapping(options).items()}


def _declare(known: dict[str, Attribute], declared: Any) -> None:
    for name, attribute in _mapping(declared).items():
        attribute = _mapping(attribute)
        # Text has no options; what is left there of a former type means nothing.
        options = {} if attribute.get("type") == "text" else _options(attribute.get("options"))
        known[name] = Attribute(options)


def _worded(known: Mapping[str, Attribute], attributes: Any) -> dict[str, Any]:
    """Attributes with their options in words, without those that say nothing."""
    words = {name: known.get(name, Attribute()).value(value) for name, value in _mapping(attributes).items()}
    return {name: value for name, value in words.items() if value not in ("", [])}


def _named_values(values: Any, names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in _mapping(values).items()}


def _object(text: str, where: str) -> dict[str, Any]:
    """A JSON object in a cell; an empty cell is an empty one."""
    data = parse_json(text, where) if text.strip() else {}
    if not isinstance(data, dict):
        raise DataError(f"{where}: expected an object in braces, found {text[:40]!r}")
    return data


def _rows(text: str, path: Path) -> Iterator[list[str]]:
    """The rows of a CSV file; also of one that a spreadsheet has saved with semicolons."""
    # The module's limit for a cell is below what a large outline takes; it can only be set for all.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    first = text.partition("\n")[0]
    delimiter = ";" if ";" in first and "," not in first else ","
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file that can be read ({error}); export it again") from None


def _rect(shape: Mapping[str, Any], where: str) -> Box:
    x, y, width, height = _values(shape, ("x", "y", "width", "height"), where)
    return _box_of((x, x + width), (y, y + height))


def _circle(shape: Mapping[str, Any], where: str) -> Ellipse:
    cx, cy, radius = _values(shape, ("cx", "cy", "r"), where)
    return _ellipse_of(cx, cy, radius, radius, 0.0, where)


def _ellipse(shape: Mapping[str, Any], where: str) -> Ellipse:
    cx, cy, rx, ry = _values(shape, ("cx", "cy", "rx", "ry"), where)
    (theta,) = _values({"theta": shape.get("theta") or 0}, ("theta",), where)
    return _ellipse_of(cx, cy, rx, ry, math.degrees(theta), where)


def _outline(shape: Mapping[str, Any], where: str, at_least: int) -> np.ndarray:
    x = finite(shape.get("all_points_x", []), f"{where}: all_points_x", at_least)
    y = finite(shape.get("all_points_y", []), f"{where}: all_points_y", at_least)
    if len(x) != len(y):
        raise DataError(f"{where}: expected as many x as y, found {len(x)} and {len(y)}")
    return np.stack([x, y], 1)


def _values(shape: Mapping[str, Any], names: tuple[str, ...], where: str) -> list[float]:
    values: list[float] = finite([shape.get(name) for name in names], where).tolist()
    if len(values) != len(names):  # lists where numbers belong
        raise DataError(f"{where}: expected one number each for {', '.join(names)}")
    return values


def _box_of(x: Any, y: Any) -> Box:
    return Box(float(min(x)), float(min(y)), float(max(x)), float(max(y)))


def _ellipse_of(cx: float, cy: float, rx: float, ry: float, angle: float, where: str) -> Ellipse:
    if rx < 0 or ry < 0:
        raise DataError(f"{where}: expected radii of 0 or more, found {rx:g} and {ry:g}")
    return Ellipse(float(cx), float(cy), float(rx), float(ry), float(angle))


def _open_ring(points: np.ndarray) -> Polygon:
    """A polygon without the corner that version 1 repeats at the end."""
    closed = len(points) > 3 and np.array_equal(points[0], points[-1])
    return Polygon.of(points[:-1] if closed else points)


_NAMED: dict[str, Callable[[Mapping[str, Any], str], Geometry]] = {
    "rect": _rect,
    "circle": _circle,
    "ellipse": _ellipse,
    "polygon": lambda shape, where: _open_ring(_outline(shape, where, 3)),
    "polyline": lambda shape, where: Polyline(_outline(shape, where, 2)),
    "point": lambda shape, where: Points(np.array([_values(shape, ("cx", "cy"), where)])),
}


def _pairs(xy: np.ndarray, where: str) -> np.ndarray:
    if len(xy) % 2:
        raise DataError(f"{where}: expected pairs x,y, found {len(xy)} numbers")
    return xy.reshape(-1, 2)


def _box_around(xy: np.ndarray, where: str) -> Box:
    x, y = _pairs(xy, where).T
    return _box_of(x, y)


def _circle_through(xy: np.ndarray, where: str) -> Ellipse:
    """The circle through the first three points.

    >>> _circle_through(np.array([0.0, 1, 2, 1, 1, 2]), "a").rx
    1.0
    """
    a, b, c = _pairs(xy, where)[:3]
    # Points at the same distance from two places lie on the line between them: two equations.
    sides = 2 * np.stack([b - a, c - a])
    if abs(np.linalg.det(sides)) < 1e-9:
        raise DataError(f"{where}: expected three points of a circle, found them in a line")
    centre = np.linalg.solve(sides, [b @ b - a @ a, c @ c - a @ a])
    radius = float(np.hypot(*(a - centre)))
    finite([*centre, radius], where)
    return Ellipse(float(centre[0]), float(centre[1]), radius, radius)


_NUMBERED: dict[int, tuple[Callable[[np.ndarray, str], Geometry], int]] = {
    1: (lambda xy, where: Points(xy[None, :2]), 2),
    2: (lambda xy, where: _box_of((xy[0], xy[0] + xy[2]), (xy[1], xy[1] + xy[3])), 4),
    3: (lambda xy, where: _ellipse_of(xy[0], xy[1], xy[2], xy[2], 0, where), 3),
    4: (lambda xy, where: _ellipse_of(xy[0], xy[1], xy[2], xy[3], 0, where), 4),
    5: (lambda xy, where: Polyline(_pairs(xy, where)), 4),
    6: (lambda xy, where: Polyline(_pairs(xy, where)), 4),
    7: (lambda xy, where: _open_ring(_pairs(xy, where)), 6),
    8: (_box_around, 4),
    9: (_circle_through, 6),
}
"""How version 3 numbers shapes, and how many coordinates they have at least."""
