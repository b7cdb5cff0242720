"""Labelbox: its exports (version 2 as NDJSON, version 1 as JSON), and the NDJSON that is uploaded to it.

Source: https://docs.labelbox.com/reference/export-image-annotations and the notebooks of
github.com/Labelbox/labelbox-python. Coordinates are pixels of the upright image. Polygons are single rings
without holes. Masks are mostly links, see :mod:`pixelwise.data.formats.labelbox_masks`. Frames of videos
count from 1.

What is written is NDJSON for model-assisted labelling, one annotation a line, with masks as PNG in base64
and the file name as the global key.
"""

from __future__ import annotations

import base64
import io
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from PIL import Image

from pixelwise.data.adapt import Holds
from pixelwise.data.annotations import AnnotatedImage, Document, Findings, finite, whole
from pixelwise.data.formats.labelbox_masks import LinkedMasks, decode_base64
from pixelwise.data.locate import ImageFinder, as_posix
from pixelwise.data.raster import rasterise, to_bitmap
from pixelwise.data.sniff import files_with, first_files, text_head
from pixelwise.errors import DataError
from pixelwise.io import is_image, list_images, write_text
from pixelwise.io.documents import parse_json, read_text
from pixelwise.io.images import MAX_PIXELS
from pixelwise.io.video import VIDEO_SUFFIXES
from pixelwise.labels import LabelMap
from pixelwise.shapes import Bitmap, Box, Geometry, Points, Polygon, Polyline, Shape, Vertices

HOLDS = Holds(kinds=frozenset({"polygon", "box", "polyline", "points", "bitmap"}), scores=True)
"""Attributes are left out: an upload with a classification that the project does not know is refused."""

_SUFFIXES = (".json", ".ndjson", ".jsonl")
_KEYS = re.compile(r'"(data_row|dataRow|Labeled Data|DataRow ID)"\s*:')
_OUTLINES = ("bounding_box", "bbox", "polygon", "line", "point", "mask", "composite_mask", "instanceURI")
# What uploads hold besides shapes on images, by the member that tells.
_OTHERS = {
    "location": "marks in text",
    "page": "marks in PDF documents",
    "textSelections": "marks in PDF documents",
    "segments": "shapes in videos that are to be uploaded",
    "metricValue": "metrics",
    "relationship": "relations between shapes",
    "messageEvaluationTask": "ratings of messages",
}
_NESTED = 20


def recognise(root: Path) -> bool:
    """Whether a JSON file, or one of a folder's first, has Labelbox's names for rows of data."""
    return any(_has_keys(path) for path in first_files(root, _SUFFIXES))


def _has_keys(path: Path) -> bool:
    return _KEYS.search(text_head(path, 1 << 16)) is not None


def _is_labelbox(path: Path) -> bool:
    """Whether a file is to be read: an upload without any shape is an empty one."""
    return _has_keys(path) or (path.suffix == ".ndjson" and path.stat().st_size == 0)


def load(
    root: Path,
    *,
    label_choice: str = "newest",
    mask_dir: str | Path | None = None,
    cache: str | Path | None = None,
    key_env: str | None = None,
) -> Document:
    """Everything that exports or uploads say of images and of frames of videos.

    Parameters
    ----------
    root
        A file, or a folder of files with their images.
    label_choice
        Which label to take where several people labelled an image: ``"newest"``, ``"first"``, or the id of a
        label, which counts where it occurs.
    mask_dir
        A folder with ``{feature id}.png`` for the masks that are links.
    cache, key_env
        Fetch such masks, with the API key in the environment variable of this name, and keep them here.
        Without both nothing is fetched, and the shapes are listed as left out.

    Raises
    ------
    DataError
        No file is Labelbox's, or none can be read.
    """
    files = [root] if root.is_file() else [path for path in files_with(root, _SUFFIXES) if _is_labelbox(path)]
    if not files:
        raise DataError(f"{root}: no export of Labelbox (.ndjson or .json) in the folder")
    folder = root if root.is_dir() else root.parent
    reader = _Reader(ImageFinder(folder), LinkedMasks(mask_dir, cache, key_env), label_choice)
    failed: list[DataError] = []
    for path in files:
        try:
            for where, row in _rows(path, folder, reader.findings):
                reader.add(row, where, path)
            if not path.stat().st_size:
                reader.upload = path
        except DataError as error:
            failed.append(error)
            reader.findings.add("unreadable_file", "files that cannot be read", str(error), level="error")
    if len(failed) == len(files):
        raise failed[0]
    reader.finish(folder)
    problems = reader.findings.problems()
    left_out = any(problem.code in ("linked_mask", "bad_shape", "unknown_shape") for problem in problems)
    if not reader.images or (left_out and not any(image.shapes for image in reader.images)):
        what = "shape could be read" if reader.images else "row is a labelled image"
        reasons = (
            "; ".join(f"{p.message}, {p.fix}" if p.fix else p.message for p in problems) or "it is empty"
        )
        raise DataError(f"{root}: no {what} ({reasons})")
    return Document(reader.images, problems=problems)


def _rows(path: Path, folder: Path, findings: Findings) -> Iterator[tuple[str, Any]]:
    """(place, row): of a list, of lines, or the only one."""
    text = read_text(path)
    name = path.relative_to(folder).as_posix()
    if text.lstrip().startswith("["):
        rows = parse_json(text, str(path))
        yield from ((f"{name}: row {number}", row) for number, row in enumerate(rows, 1))
        return
    # Only line feeds end a line: names may hold Unicode's other line separators.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    try:
        first = parse_json(lines[0][1], str(path)) if lines else None
    except DataError:
        yield f"{name}: row 1", parse_json(text, str(path))
        return
    for number, line in lines:
        try:
            yield f"{name}:{number}", first if number == lines[0][0] else parse_json(line, f"{name}:{number}")
        except DataError as error:
            findings.add("bad_row", "lines that cannot be read", str(error), level="error")


@dataclass
class _Reader:
    """Collects images and shapes row by row."""

    finder: ImageFinder
    masks: LinkedMasks
    choice: str
    findings: Findings = field(default_factory=Findings)
    images: list[AnnotatedImage] = field(default_factory=list)
    uploads: dict[str, AnnotatedImage] = field(default_factory=dict)
    upload: Path | None = None
    names: set[str] = field(default_factory=set)

    def add(self, row: Any, where: str, source: Path) -> None:
        """Take in one row of whatever kind; bad ones are noted."""
        try:
            if not isinstance(row, dict):
                raise DataError(f"{where}: expected an object, found {type(row).__name__}")
            if isinstance(row.get("data_row"), dict):
                self._add_export(row, where, source)
            elif isinstance(row.get("dataRow"), dict):
                self._add_upload(row, where, source)
            elif "Labeled Data" in row or "DataRow ID" in row:
                self._add_old_export(row, where, source)
            else:
                raise DataError(f"{where}: has neither 'data_row', 'dataRow' nor 'Labeled Data'")
        except DataError as error:
            self.findings.add("bad_row", "rows that cannot be read, left out", str(error), level="error")

    def finish(self, folder: Path) -> None:
        """What can only be told at the end: images that an upload says nothing of hold nothing."""
        if self.upload is None or not (folder / "images").is_dir():
            return
        known = {image.path for image in self.images}
        for path in list_images(folder / "images"):
            if path not in known:
                name = path.relative_to(folder / "images").as_posix()
                self.images.append(AnnotatedImage(name, self.upload, path=path))
                self.findings.add("no_shapes", "images that no line names, taken as holding nothing", name)

    def _image(self, name: str, source: Path, where: str) -> AnnotatedImage:
        if name in self.names:
            self.findings.add(
                "repeated_image", "images that come twice, each with its own shapes only", where
            )
        self.names.add(name)
        image = AnnotatedImage(name, source, path=self._find(name))
        self.images.append(image)
        return image

    def _find(self, name: str) -> Path | None:
        """The image, whose suffix the keys of some people lack."""
        found = self.finder.find(name)
        if found is None and not is_image(Path(name)) and Path(name).suffix.lower() not in VIDEO_SUFFIXES:
            named = (self.finder.find(f"{name}{suffix}") for suffix in (".jpg", ".png", ".jpeg"))
            found = next(filter(None, named), None)
        return found

    # Exports, version 2

    def _add_export(self, row: Mapping[str, Any], where: str, source: Path) -> None:
        data, media = row["data_row"], row.get("media_attributes")
        media = media if isinstance(media, dict) else {}
        name = _first_text(
            data.get("external_id"), data.get("global_key"), _last(data.get("row_data")), data.get("id")
        )
        if not name:
            raise DataError(f"{where}: the row has no external_id, global_key or row_data")
        label = self._choose(row.get("projects"), where)
        if label is None:
            message = "rows that nobody has labelled, left out"
            self.findings.add("unlabelled", message, f"{where}: {name}")
            return
        marks = label.get("annotations")
        if not isinstance(marks, dict):
            raise DataError(f"{where}: the label has no 'annotations'")
        tiled = isinstance(data.get("row_data"), dict)  # layers of a map instead of an address
        kind = "tiled image" if tiled else str(media.get("mime_type") or "image")
        if isinstance(marks.get("frames"), dict):
            self._add_frames(marks, media, name, where, source)
        elif tiled or not kind.startswith("image"):
            self.findings.add("other_media", f"rows of the kind {kind}, left out", f"{where}: {name}")
        else:
            size = _size(media, where)
            image = self._image(name, source, where)
            image.height, image.width = size
            image.tags = _answers(marks.get("classifications"))
            self._add_objects(image, marks.get("objects"), where)
            self._note_relations(marks, where)

    def _choose(self, projects: Any, where: str) -> Mapping[str, Any] | None:
        """One label of a row, and a note when there were several."""
        labels = [
            label
            for project in (projects.values() if isinstance(projects, dict) else ())
            if isinstance(project, dict) and isinstance(project.get("labels"), list)
            for label in project["labels"]
            if isinstance(label, dict)
        ]
        if len(labels) > 1:
            message = f"rows with several labels, of which one is read ({self.choice})"
            fix = "choose with label_choice: newest, first, or the id of a label"
            self.findings.add("several_labels", message, f"{where}: {len(labels)} labels", fix)
        named = [label for label in labels if label.get("id") == self.choice]
        if named or self.choice == "first":
            return next(iter(named or labels), None)
        return max(labels, key=_made_at, default=None)

    def _add_frames(
        self, marks: Mapping[str, Any], media: Mapping[str, Any], name: str, where: str, source: Path
    ) -> None:
        video, tracks, before = self._find(name), dict[str, int](), len(self.images)
        size = _size(media, where)
        for number, content in sorted(marks["frames"].items(), key=lambda item: item[0].zfill(9)):
            place = f"{where}: frame {number}"
            try:
                frame = whole(number, place, low=1)
                objects = content.get("objects") if isinstance(content, dict) else None
                if not isinstance(objects, dict):
                    raise DataError(f"{place}: expected 'objects' by their ids")
            except DataError as error:
                self.findings.add(
                    "bad_row", "frames that cannot be read, left out", str(error), level="error"
                )
                continue
            label = f"{Path(name).stem}/frame_{frame:06}"
            image = AnnotatedImage(label, source, *size, path=video, frame=frame - 1)
            image.tags = _answers(content.get("classifications"))
            self.images.append(image)
            for feature, thing in objects.items():
                track = tracks.setdefault(feature, len(tracks))
                self._add_object(image, thing, f"{place}, object {feature}", track, feature)
        self._note_relations(marks, where)
        spans = marks.get("segments")
        covered = sum(map(_span, spans.values())) if isinstance(spans, dict) else 0
        held = sum(len(image.shapes) for image in self.images[before:])
        if covered > held:
            message = "videos of which only the key frames were exported; those between are not made up"
            self.findings.add(
                "key_frames", message, f"{where}: {name}", "export with interpolated_frames=True"
            )

    def _note_relations(self, marks: Mapping[str, Any], where: str) -> None:
        if marks.get("relationships"):
            self.findings.add("relations", "labels with relations between shapes, which are not read", where)

    # Exports, version 1

    def _add_old_export(self, row: Mapping[str, Any], where: str, source: Path) -> None:
        name = _first_text(row.get("External ID"), _last(row.get("Labeled Data")), row.get("DataRow ID"))
        if not name:
            raise DataError(f"{where}: has no 'External ID' and no 'Labeled Data'")
        label, kind = row.get("Label"), str(row.get("media_type") or "image")
        kind = "tiled image" if isinstance(row.get("Labeled Data"), dict) else kind
        if row.get("Skipped") is True or not isinstance(label, dict):
            self.findings.add("skipped", "images that were skipped in Labelbox, left out", f"{where}: {name}")
        elif "frames" in label or kind == "video":
            fix = "export again as version 2, which has the frames in the file"
            self.findings.add("other_media", "videos of version 1, left out", f"{where}: {name}", fix)
        elif kind != "image":
            self.findings.add("other_media", f"rows of the kind {kind}, left out", f"{where}: {name}")
        else:
            image = self._image(name, source, where)
            image.tags = _answers(label.get("classifications"))
            self._add_objects(image, label.get("objects"), where)
            self._note_relations(label, where)

    # What is uploaded

    def _add_upload(self, row: Mapping[str, Any], where: str, source: Path) -> None:
        other = next((meaning for key, meaning in _OTHERS.items() if key in row), None)
        if other:
            self.findings.add("other_media", f"{other}, left out", where)
            return
        data = row["dataRow"]
        name = _first_text(data.get("globalKey"), data.get("externalId"), data.get("id"))
        if not name:
            raise DataError(f"{where}: dataRow has no globalKey and no id")
        if name not in self.uploads:
            self.uploads[name] = self._image(name, source, where)
            self.upload = source
        image = self.uploads[name]
        if "answer" in row:
            image.tags |= _answers([row])
        else:
            self._add_object(image, row, where)

    # Shapes

    def _add_objects(self, image: AnnotatedImage, objects: Any, where: str) -> None:
        if objects is not None and not isinstance(objects, list):
            raise DataError(f"{where}: 'objects' should be a list")
        for number, thing in enumerate(objects or (), 1):
            self._add_object(image, thing, f"{where}: object {number}")

    def _add_object(
        self, image: AnnotatedImage, thing: Any, where: str, track: int | None = None, feature: str = ""
    ) -> None:
        try:
            if not isinstance(thing, dict):
                raise DataError(f"{where}: expected an object, found {type(thing).__name__}")
            label = _first_text(
                thing.get("name"), thing.get("title"), thing.get("value"), thing.get("schemaId")
            )
            if not label:
                raise DataError(f"{where}: has no name")
            if "schemaId" in thing and not _first_text(
                thing.get("name"), thing.get("title"), thing.get("value")
            ):
                message = "shapes named by the id of their schema only"
                self.findings.add("no_name", message, where, "translate the ids: --map ID=CLASS")
            feature = feature or _first_text(thing.get("feature_id"), thing.get("featureId"))
            geometry = self._geometry(thing, feature, image, where)
        except DataError as error:
            self.findings.add("bad_shape", "shapes that cannot be read, left out", str(error))
            return
        if geometry is None:
            return
        shape = Shape(label, geometry, track=track, attributes=_answers(thing.get("classifications")))
        score = thing.get("confidence")
        if isinstance(score, int | float) and 0 <= score <= 1:
            shape.score = float(score)
        image.shapes.append(shape)

    def _geometry(
        self, thing: Mapping[str, Any], feature: str, image: AnnotatedImage, where: str
    ) -> Geometry | None:
        kind = next((kind for kind in _OUTLINES if thing.get(kind)), None)
        if kind is None:
            told = _first_text(thing.get("annotation_kind"), *(key for key in thing if key not in _USUAL))
            self.findings.add(
                "unknown_shape", f"shapes of the unknown kind '{told or 'none'}', left out", where
            )
            return None
        value = thing[kind]
        if kind in ("bounding_box", "bbox"):
            return _box(value, where)
        if kind == "polygon":
            return Polygon.of(_points(value, where, 3))
        if kind == "line":
            return Polyline(_points(value, where, 2))
        if kind == "point":
            return Points(_points([value], where, 1))
        return self._bitmap(value, feature, image, where)

    def _bitmap(self, value: Any, feature: str, image: AnnotatedImage, where: str) -> Bitmap | None:
        value = {"url": value} if isinstance(value, str) else value
        if not isinstance(value, dict):
            raise DataError(f"{where}: a mask should be an object, found {str(value)[:40]}")
        colour = value.get("color_rgb") or value.get("colorRGB")
        if value.get("png"):
            picture: np.ndarray | None = decode_base64(value["png"], where)
        elif (picture := self.masks.own(feature)) is not None:
            colour = None  # a mask of its own has no others in it
        else:
            picture = self.masks.find(_first_text(value.get("url"), value.get("instanceURI")), where)
        if picture is None:
            fix = "give mask_dir with {feature id}.png, or key_env and cache to fetch them from Labelbox"
            self.findings.add("linked_mask", "masks that are only links, left out", where, fix)
            return None
        height, width = picture.shape[:2]
        if not image.height or not image.width:
            image.height, image.width = height, width
        if (height, width) != (image.height, image.width):
            raise DataError(
                f"{where}: a mask of {width}x{height} in an image of {image.width}x{image.height}"
            )
        if colour is None:
            return to_bitmap(picture.max(2))
        wanted = finite(colour, f"{where}: colour", at_least=3)[:3]
        return to_bitmap(np.all(picture == wanted, axis=2))


_USUAL = frozenset(
    ("name", "title", "value", "color", "feature_id", "featureId", "feature_schema_id", "schemaId", "uuid")
    + ("classifications", "dataRow", "confidence", "customMetrics", "keyframe")
)


def _first_text(*values: Any) -> str:
    return next((value.strip() for value in values if isinstance(value, str) and value.strip()), "")


def _last(url: Any) -> str:
    """The file name at the end of an address."""
    return unquote(as_posix(url)).rpartition("/")[2] if isinstance(url, str) else ""


def _made_at(label: Mapping[str, Any]) -> str:
    """When a label was last changed; the texts sort by time."""
    details = label.get("label_details")
    details = details if isinstance(details, dict) else {}
    return _first_text(details.get("updated_at"), details.get("created_at"))


def _size(media: Mapping[str, Any], where: str) -> tuple[int, int]:
    height, width = (whole(media.get(side) or 0, f"{where}: {side}") for side in ("height", "width"))
    if height * width > MAX_PIXELS:
        raise DataError(f"{where}: {width}x{height} pixels is over the limit of {MAX_PIXELS:,}")
    return height, width


def _span(ranges: Any) -> int:
    """How many frames the segments of an object cover."""
    pairs = (
        [pair for pair in ranges if isinstance(pair, list) and len(pair) == 2]
        if isinstance(ranges, list)
        else []
    )
    whole_pairs = [(a, b) for a, b in pairs if isinstance(a, int) and isinstance(b, int)]
    return sum(max(b - a + 1, 0) for a, b in whole_pairs)


def _points(value: Any, where: str, least: int) -> Vertices:
    if not isinstance(value, list) or not all(isinstance(point, dict) for point in value):
        raise DataError(f"{where}: expected points with x and y, found {str(value)[:40]}")
    numbers = finite([(point.get("x"), point.get("y")) for point in value], where)
    if len(numbers) < 2 * least:
        raise DataError(f"{where}: expected at least {least} points, found {len(numbers) // 2}")
    return numbers.reshape(-1, 2)


def _box(value: Any, where: str) -> Box:
    if not isinstance(value, dict):
        raise DataError(f"{where}: a box should be an object, found {str(value)[:40]}")
    sides = [value.get(side) for side in ("left", "top", "width", "height")]
    x, y, width, height = finite(sides, where, at_least=4).tolist()
    if width <= 0 or height <= 0:
        raise DataError(f"{where}: a box of no size")
    return Box(x, y, x + width, y + height)


def _answers(questions: Any, depth: int = 0) -> dict[str, Any]:
    """Questions with their answers, nested ones beside those that they belong to."""
    found: dict[str, Any] = {}
    for question in questions if isinstance(questions, list) else ():
        if depth > _NESTED:
            break
        if isinstance(question, list):
            found |= _answers(question, depth + 1)
            continue
        if not isinstance(question, dict):
            continue
        name = _first_text(
            question.get("name"), question.get("title"), question.get("value"), question.get("schemaId")
        )
        given = [question[key] for key in _ANSWERS if question.get(key) is not None]
        if name and given:
            texts = [_answer(item) for item in (given[0] if isinstance(given[0], list) else given[:1])]
            found[name] = texts if isinstance(given[0], list) else texts[0]
        for part in (question, *given, *(given[0] if given and isinstance(given[0], list) else ())):
            if isinstance(part, dict):
                found |= _answers(part.get("classifications"), depth + 1)
    return found


_ANSWERS = ("answer", "answers", "radio_answer", "checklist_answers", "text_answer")


def _answer(value: Any) -> str:
    if isinstance(value, dict):
        return _first_text(
            value.get("content"),
            value.get("name"),
            value.get("title"),
            value.get("value"),
            value.get("schemaId"),
        )
    return str(value)


# Writing


def tidy_name(name: str) -> str:
    """Any name can be a global key."""
    return name


def image_path(image: AnnotatedImage) -> str:
    """``images/{name}``."""
    return f"images/{image.name}"


def save(document: Document, path: Path, labels: LabelMap) -> None:
    """Write ``annotations.ndjson`` for an upload, and ``classes.txt`` with the classes, which that lacks."""
    lines = []
    for image in document.images:
        for number, (label, score, geometry) in enumerate(_single(image.shapes)):
            # The same data give the same ids, so that a second upload can be told from new annotations.
            ident = uuid.uuid5(uuid.NAMESPACE_URL, f"pixelwise:{image.name}:{number}")
            record: dict[str, Any] = {"uuid": str(ident), "dataRow": {"globalKey": image.name}, "name": label}
            record |= {} if score is None else {"confidence": score}
            record |= _describe(geometry, (image.height, image.width))
            lines.append(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(path / "annotations.ndjson", "".join(lines))
    write_text(path / "classes.txt", "".join(f"{name}\n" for name in labels.names))


def _single(shapes: Sequence[Shape]) -> Iterator[tuple[str, float | None, Geometry]]:
    """Shapes as Labelbox counts them: points one by one."""
    for shape in shapes:
        if isinstance(shape.geometry, Points):
            for point in shape.geometry.points:
                yield shape.label, shape.score, Points(point[None])
        else:
            yield shape.label, shape.score, shape.geometry


def _describe(geometry: Geometry, size: tuple[int, int]) -> dict[str, Any]:
    if isinstance(geometry, Box):
        height, width = geometry.y1 - geometry.y0, geometry.x1 - geometry.x0
        return {"bbox": {"top": geometry.y0, "left": geometry.x0, "height": height, "width": width}}
    if isinstance(geometry, Polygon):
        return {"polygon": _pairs(geometry.rings[0].exterior)}
    if isinstance(geometry, Polyline):
        return {"line": _pairs(geometry.points)}
    if isinstance(geometry, Points):
        return {"point": _pairs(geometry.points)[0]}
    buffer = io.BytesIO()
    Image.fromarray(rasterise(geometry, *size).astype(np.uint8) * 255).save(buffer, "PNG")
    return {"mask": {"png": base64.b64encode(buffer.getvalue()).decode("ascii")}}


def _pairs(points: Vertices) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in points.tolist()]
