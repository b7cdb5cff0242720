"""COCO's JSON: outlines and run lengths of instances or stuff, as COCO itself and most tools export it.

Source: https://cocodataset.org/#format-data and the COCO API (github.com/cocodataset/cocoapi). A polygon
annotation is the union of its rings; run lengths go column by column and start with off; category ids have
gaps. Also read, because files in circulation have them: one flat list of numbers instead of a list of
rings, annotations that are only boxes, and CVAT's ``attributes`` with ``occluded`` and ``track_id``.

The paint order is that of the file, and pixels without annotation are background. The COCO API rounds
outlines on a grid of fifths of a pixel; here a pixel belongs to a shape when its centre lies inside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from pixelwise.data.annotations import (
    AnnotatedImage,
    Document,
    Findings,
    finite,
    whole,
)
from pixelwise.data.locate import ImageFinder, as_posix
from pixelwise.data.pairing import SPLIT_NAMES
from pixelwise.data.sniff import files_with, first_files
from pixelwise.errors import DataError, Problem, unknown_name
from pixelwise.io.images import MAX_PIXELS
from pixelwise.io.json_stream import read_members
from pixelwise.kernels.runs import text_to_runs
from pixelwise.labels import Colour
from pixelwise.shapes import Bitmap, Box, Geometry, Polygon, Ring, Shape

COCO_LISTS = ("categories", "images", "annotations")
_PEEK = 1 << 16
_SPLIT = re.compile(rf"(?<![a-z])(({'|'.join(sorted(SPLIT_NAMES, key=len, reverse=True))})\d*)(?![a-z])")
# Kinds of files that lie beside each other, the ones that say most of the pixels first.
_KINDS = ("instances", "", "stuff", "person_keypoints", "labels", "panoptic", "captions", "image_info")
_LEVELS = ("category", "supercategory")


def recognise(root: Path) -> bool:
    """Whether a JSON file, or one of a folder's first, has COCO's lists."""
    return any(is_coco(path) for path in first_files(root, (".json",)))


def is_coco(path: Path) -> bool:
    """Whether a JSON file has COCO's lists of images and annotations, panoptic ones not counted."""
    keys = member_names(path)
    return "segments_info" not in keys and (
        {"images", "file_name"} <= keys or {"annotations", "image_id"} <= keys
    )


def member_names(path: Path) -> set[str]:
    """Names of members near the beginning and the end of a JSON file that holds an object; cheap."""
    try:
        with path.open("rb") as file:
            head = file.read(_PEEK)
            file.seek(max(path.stat().st_size - _PEEK, 0))
            tail = file.read(_PEEK)
    except OSError:
        return set()
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return set()
    return {name.decode() for name in re.findall(rb'"([A-Za-z_]{1,30})"\s*:', head + tail)}


def load(
    root: Path,
    *,
    kind: str | None = None,
    level: Literal["category", "supercategory"] = "category",
    image_dir: str | Path | None = None,
) -> Document:
    """Everything that a COCO file says, or the files of a folder, whose names then tell the splits.

    Parameters
    ----------
    root
        A JSON file, or a folder with one or several (``annotations/instances_train2017.json``,
        ``train/_annotations.coco.json``).
    kind
        Where a folder holds several kinds of files: how the names of those to read begin, such as
        ``"stuff"``. By default ``instances`` if there are any.
    level
        ``"supercategory"`` takes the coarser names for classes.
    image_dir
        Where the images are, if not beside the annotations.

    Raises
    ------
    DataError
        No file is one of COCO's, or a single one cannot be read or holds no shapes by its kind
        (captions, lists of test images).
    """
    if level not in _LEVELS:
        raise unknown_name("level", level, _LEVELS)
    files, others = _choose(root, kind)
    document, findings = Document([]), Findings()
    finder = ImageFinder(Path(image_dir).expanduser() if image_dir else image_root(root))
    failed: list[DataError] = []
    for path in files:
        try:
            content = _read_file(path, root, level, findings)
        except DataError as error:
            failed.append(error)
            findings.add("unreadable_file", "files that cannot be read", str(error), level="error")
            continue
        find_images(content.images, path, finder)
        document.images += content.images
        for name, colour in content.classes.items():
            if name not in document.names:
                document.names.append(name)
                document.colours += [colour] if colour else []
    if len(failed) == len(files):
        raise failed[0]
    if len(document.colours) != len(document.names):
        document.colours = []
    document.problems += findings.problems()
    if not document.names:
        reasons = "; ".join(problem.message for problem in document.problems) or "the list is empty"
        raise DataError(f"{root}: no category could be read ({reasons})")
    if others:
        fix = "read one of them by its own path, or choose by the option kind"
        document.problems.append(
            Problem("warning", "other_files", "files of other kinds, not read", fix, others)
        )
    return document


def image_root(root: Path) -> Path:
    """The folder that images are looked for in: for a file in ``annotations/`` that is one further up."""
    folder = root if root.is_dir() else root.parent
    return folder.parent if folder.name == "annotations" else folder


def split_of(path: Path) -> str | None:
    """The split that the name of an annotation file or of its folder tells.

    >>> split_of(Path("instances_val2017.json")), split_of(Path("train/_annotations.coco.json"))
    ('val', 'train')
    """
    match = _split_word(path)
    return SPLIT_NAMES[match[2]] if match else None


def _split_word(path: Path) -> re.Match[str] | None:
    return _SPLIT.search(path.stem.lower()) or _SPLIT.fullmatch(path.parent.name.lower())


def _choose(root: Path, kind: str | None) -> tuple[list[Path], tuple[str, ...]]:
    """The files to read, and the names of those of other kinds."""
    if root.is_file():
        return [root], ()
    found = {path: _kind(path) for path in files_with(root, (".json",)) if _has_images(path)}
    if kind is not None:
        chosen = [path for path in found if path.name.startswith(kind)]
        if not chosen:
            names = ", ".join(path.name for path in found) or "none"
            raise DataError(f"{root}: no COCO file whose name begins with '{kind}'; there are: {names}")
    else:
        first = min(map(_KINDS.index, found.values()), default=0)
        chosen = [path for path, own in found.items() if own == _KINDS[first]]
    if not chosen:
        raise DataError(f"{root}: no JSON file with COCO's lists of images, annotations and categories")
    return chosen, tuple(path.name for path in found if path not in chosen)


def _has_images(path: Path) -> bool:
    keys = member_names(path)
    return is_coco(path) or {"images", "segments_info"} <= keys


def _kind(path: Path) -> str:
    if "segments_info" in member_names(path):
        return "panoptic"
    return next((kind for kind in _KINDS if kind and path.name.startswith(kind)), "")


class _Content(NamedTuple):
    images: list[AnnotatedImage]
    classes: dict[str, Colour | None]


@dataclass(slots=True)
class CocoLists:
    """A file half read: lists may come in any order, so shapes wait for their images and classes."""

    name: str
    level: str
    findings: Findings
    images: dict[str, AnnotatedImage] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    colours: dict[str, Colour | None] = field(default_factory=dict)
    shapes: list[tuple[str, str, str, Shape]] = field(default_factory=list)  # image, class, id, shape
    captions: int = 0

    def add_category(self, record: Mapping[str, Any], where: str) -> None:
        """Note a category; DataError when it has no name or id."""
        key = _key(record.get("id"), f"{where}: id")
        name = record.get(self.level) if self.level == "supercategory" else record.get("name")
        name = str(name or record.get("name") or "").strip()
        if not name:
            raise DataError(f"{where}: has no name")
        if key in self.classes:
            self.findings.add("repeated_id", "ids of categories that come twice, the first counts", where)
            return
        if name in self.colours and self.level == "category":
            message = "categories of the same name, taken for one class"
            self.findings.add("repeated_name", message, f"{where}: {name}")
        self.classes[key] = name
        self.colours.setdefault(name, _colour(record.get("color")))

    def add_image(self, record: Mapping[str, Any], where: str, source: Path) -> None:
        """Note an image; DataError when it has no name or id, or an absurd size."""
        key = _key(record.get("id"), f"{where}: id")
        name = record.get("file_name")
        if not isinstance(name, str) or not as_posix(name):
            raise DataError(f"{where}: has no file_name")
        if key in self.images:
            self.findings.add("repeated_id", "ids of images that come twice, the first counts", where)
            return
        height, width = (whole(record.get(side) or 0, f"{where}: {side}") for side in ("height", "width"))
        if height * width > MAX_PIXELS:
            raise DataError(f"{where}: {width}x{height} pixels is over the limit of {MAX_PIXELS:,}")
        self.images[key] = AnnotatedImage(as_posix(name), source, height, width, split=split_of(source))

    def add_annotation(self, record: Mapping[str, Any], where: str) -> None:
        """Note an annotation; DataError when its shape cannot be read."""
        if "caption" in record and "bbox" not in record:
            self.captions += 1
            return
        if record.get("keypoints"):
            self.findings.add("keypoints", "sets of keypoints, which are not read", where)
        geometry = _geometry(record, where, self.findings)
        shape = Shape("", geometry, crowd=record.get("iscrowd") in (1, "1"))
        _add_extras(shape, record, where, self.findings)
        image, category = (_key(record.get(name), f"{where}: {name}") for name in ("image_id", "category_id"))
        self.shapes.append((image, category, where, shape))

    def link(self) -> None:
        """Give every shape its class and hand it to its image."""
        for image_id, category_id, where, shape in self.shapes:
            image, label = self.images.get(image_id), self.classes.get(category_id)
            if image is None:
                message = "annotations of images that are not in the list, left out"
                self.findings.add("unknown_image", message, f"{where}: image_id {image_id}", level="error")
            elif label is None:
                message = "annotations of categories that are not in the list, left out"
                place = f"{where}: category_id {category_id}"
                self.findings.add("unknown_category", message, place, level="error")
            elif not _fits(shape.geometry, image):
                message = "run lengths of another size than their image, left out"
                self.findings.add("bad_shape", message, where)
            else:
                shape.label = label
                image.shapes.append(shape)
        self.shapes.clear()


def _read_file(path: Path, root: Path, level: str, findings: Findings) -> _Content:
    name = str(path.relative_to(root)) if root.is_dir() else path.name
    file = CocoLists(name, level, findings)
    numbers = dict.fromkeys(COCO_LISTS, 0)
    seen = set()
    ids: set[Any] = set()
    for key, record in read_members(path, COCO_LISTS):
        seen.add(key)
        if key not in numbers:
            continue
        numbers[key] += 1
        try:
            _add_record(file, key, record, numbers[key], path, ids)
        except DataError as error:
            what = {"images": "images", "categories": "categories"}.get(key, "annotations")
            findings.add("bad_shape", f"{what} that cannot be read, left out", str(error))
    _refuse_others(path, file, seen)
    file.link()
    _note_repeats(file)
    return _Content([*file.images.values()], file.colours)


def _add_record(file: CocoLists, key: str, record: Any, number: int, path: Path, ids: set[Any]) -> None:
    if not isinstance(record, dict):
        raise DataError(
            f"{file.name}: entry {number} of {key}: expected an object, found {type(record).__name__}"
        )
    if key == "images":
        return file.add_image(record, f"{file.name}: image {record.get('id')}", path)
    if key == "categories":
        return file.add_category(record, f"{file.name}: category {record.get('id')}")
    ident = record.get("id", f"number {number}")
    if isinstance(ident, int | str):
        if ident in ids:
            message = "ids of annotations that come twice, both are kept"
            file.findings.add("repeated_id", message, f"{file.name}: annotation {ident}")
        ids.add(ident)
    return file.add_annotation(record, f"{file.name}: annotation {ident}")


def _refuse_others(path: Path, file: CocoLists, seen: set[str]) -> None:
    if "annotations" not in seen and not file.classes:
        raise DataError(
            f"{path}: lists images without annotations (as image_info files do), so there is nothing to "
            "learn from; give an instances file, or predict on the folder of images"
        )
    if file.captions and not file.shapes:
        raise DataError(f"{path}: holds captions of images and no shapes; give an instances file")
    if not file.images:
        raise DataError(f"{path}: lists no images; expected COCO's 'images', 'annotations' and 'categories'")


def _note_repeats(file: CocoLists) -> None:
    names: set[str] = set()
    for image in file.images.values():
        if image.name in names:
            message = "file names that several images have, each with its own shapes only"
            file.findings.add("repeated_image", message, f"{file.name}: {image.name}")
        names.add(image.name)


def _key(value: Any, where: str) -> str:
    """An id as text: they are numbers or text, and both are in circulation for the same id."""
    if type(value) is int or type(value) is str:
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    raise DataError(f"{where}: expected a number or text, found {str(value)[:40]}")


def _colour(value: Any) -> Colour | None:
    if (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(c, int) and 0 <= c <= 255 for c in value)
    ):
        return value[0], value[1], value[2]
    return None


def _geometry(record: Mapping[str, Any], where: str, findings: Findings) -> Geometry:
    outline = record.get("segmentation")
    if isinstance(outline, dict):
        return read_runs(outline, where)
    if isinstance(outline, list) and outline:
        return _polygon(outline, where, findings)
    if outline:
        raise DataError(f"{where}: segmentation should be a list or run lengths, found {str(outline)[:40]}")
    box = record.get("bbox")
    if not box:
        raise DataError(f"{where}: has neither segmentation nor bbox")
    numbers = finite(box, f"{where}: bbox")
    if len(numbers) != 4 or numbers[2] <= 0 or numbers[3] <= 0:
        raise DataError(f"{where}: bbox should be x, y, width, height, found {numbers.tolist()}")
    x, y, width, height = numbers.tolist()
    return Box(x, y, x + width, y + height)


def _polygon(outline: list[Any], where: str, findings: Findings) -> Polygon:
    rings = []
    for ring in outline if isinstance(outline[0], list) else [outline]:
        numbers = _finite(ring, where)
        if len(numbers) % 2:
            raise DataError(f"{where}: an outline of {len(numbers)} numbers, which are no pairs")
        if len(numbers) < 6:
            findings.add("small_ring", "rings with fewer than 3 corners, left out", where)
            continue
        rings.append(Ring(numbers.reshape(-1, 2)))
    if not rings:
        raise DataError(f"{where}: no ring has 3 corners")
    return Polygon(tuple(rings))


def _finite(ring: Any, where: str) -> np.ndarray:
    """As :func:`finite`, in half the time for the plain case, of which a large file has a million."""
    if isinstance(ring, list) and len(ring) and type(ring[0]) in (float, int):
        try:
            numbers = np.array(ring, np.float64)
        except (TypeError, ValueError, OverflowError):
            return finite(ring, where)
        if numbers.ndim == 1 and numbers.min() >= -1e7 and numbers.max() <= 1e7:  # false for NaN
            return numbers
    return finite(ring, where)


def read_runs(record: Mapping[str, Any], where: str) -> Bitmap:
    """COCO's run lengths ``{"size": [height, width], "counts": list or text}``.

    Raises
    ------
    DataError
        Naming the place: damaged, negative or too long for the size.
    """
    size = record.get("size")
    if not isinstance(size, list) or len(size) != 2:
        raise DataError(f"{where}: size should be [height, width], found {str(size)[:40]}")
    height, width = (whole(side, f"{where}: size", low=1) for side in size)
    counts = record.get("counts")
    if isinstance(counts, str):
        try:
            runs = text_to_runs(counts)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    elif isinstance(counts, list):
        runs = _whole_runs(counts, where)
    else:
        raise DataError(f"{where}: counts should be a list or text, found {str(counts)[:40]}")
    total = int(runs.sum())
    if total > height * width or height * width > MAX_PIXELS:
        raise DataError(f"{where}: run lengths of {total} pixels in an image of {width}x{height}")
    return Bitmap(0, 0, height, width, runs.astype(np.uint32))


def _whole_runs(counts: list[Any], where: str) -> np.ndarray:
    try:
        runs = np.array(counts, np.float64)
    except (TypeError, ValueError, OverflowError):
        runs = np.full(1, np.nan)
    good = runs.ndim == 1 and bool(np.all((runs >= 0) & (runs <= MAX_PIXELS) & (runs == np.floor(runs))))
    if not good:
        raise DataError(f"{where}: counts should be whole numbers, found {str(counts)[:40]}")
    return runs.astype(np.int64)


def _add_extras(shape: Shape, record: Mapping[str, Any], where: str, findings: Findings) -> None:
    """What is said of a shape beside its place."""
    score, extras = record.get("score"), record.get("attributes")
    if score is None and not extras:
        return
    if isinstance(score, int | float) and 0 <= score <= 1:
        shape.score = float(score)
    elif score is not None:
        findings.add("bad_score", "scores that are no number from 0 to 1, left out", where)
    if not extras:
        return
    if not isinstance(extras, dict):
        findings.add("bad_attributes", "attributes that are no object, left out", where)
        return
    extras = dict(extras)
    shape.occluded = extras.pop("occluded", False) is True
    track = extras.get("track_id")
    if isinstance(track, int) and not isinstance(track, bool) and 0 <= track < 2**31:
        shape.track = extras.pop("track_id")
    shape.attributes = extras


def _fits(geometry: Geometry, image: AnnotatedImage) -> bool:
    if not isinstance(geometry, Bitmap) or not image.height or not image.width:
        return True
    return (geometry.height, geometry.width) == (image.height, image.width)


def find_images(images: Sequence[AnnotatedImage], path: Path, finder: ImageFinder) -> None:
    """Look where images of this file's split use to be, then beside the file, then everywhere."""
    word = _split_word(path)
    names = [word[1], word[2]] if word else []
    folders = [
        f"{before}{name}{after}"
        for name in names
        for before, after in (("images/", ""), ("", "/images"), ("", ""))
    ]
    likely = [path.parent, *(finder.root / folder for folder in [*folders, "images"])]
    if path.parent.name == "annotations" or path.parent == finder.root:
        likely = [*likely[1:], path.parent]
    base = next((folder for folder in likely if folder.is_dir()), None)
    for image in images:
        image.path = finder.find(image.name, base)
