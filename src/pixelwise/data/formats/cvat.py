"""CVAT XML 1.1: ``annotations.xml`` of the exports "CVAT for images 1.1" and "CVAT for video 1.1".

Source: docs.cvat.ai, "CVAT for image" and "CVAT for video" (docs/dataset_management/formats). Coordinates are
in the corner convention. Runs of masks go row by row through the window and begin with the pixels that are
off. Frame numbers of tracks are those of the source video.

Departs from it
- A skeleton becomes its visible points under the skeleton's label, cuboids are left out; both are reported.
- A shape without a label keeps its place, but its pixels are ignored.
- An attribute ``track_id`` is the number of a track: images of several sizes do not fit the format for
  video, which is the only one with tracks.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from pixelwise.data.annotations import (
    IGNORED,
    AnnotatedImage,
    Document,
    Findings,
    finite,
    stated_size,
    whole,
)
from pixelwise.data.formats.cvat_tracks import Keyframe, spread
from pixelwise.data.formats.splits import split_of_export
from pixelwise.data.locate import ImageFinder
from pixelwise.data.pairing import SPLIT_NAMES
from pixelwise.data.sniff import files_with, first_files, text_head
from pixelwise.errors import DataError
from pixelwise.io import list_images
from pixelwise.io.documents import read_xml
from pixelwise.io.images import MAX_PIXELS
from pixelwise.io.video import VIDEO_SUFFIXES
from pixelwise.kernels.runs import decode_runs, encode_runs
from pixelwise.labels import Colour
from pixelwise.shapes import Bitmap, Box, Ellipse, Geometry, Points, Polygon, Polyline, Shape

_ROOT = re.compile(r"(\s|<\?.*?\?>|<!--.*?-->)*<annotations[\s>]", re.DOTALL)
_KNOWN = re.compile(r"<(version|meta|image|track)[\s>]")
_COLOUR = re.compile(r"#([0-9a-fA-F]{6})")
_STEP = re.compile(r"step\s*=\s*(\d{1,7})")
FRAME_NAME = re.compile(r"frame_(\d{1,9})")
"""What CVAT calls the images of a video, without the suffix."""
_WHOLE = re.compile(r"-?\d+")
_MOST_FRAMES = 1_000_000
_MOST_OF_A_TRACK = 2**28  # pixels of a mask where nothing says how large the image is
_NO_SUBSET = ("", "default")


def recognise(root: Path) -> bool:
    """Whether one of the first XML files is an export of CVAT."""
    return any(_is_export(path) for path in first_files(root, (".xml",)))


def _is_export(path: Path) -> bool:
    head = text_head(path)
    return _ROOT.match(head) is not None and _KNOWN.search(head) is not None


def load(root: Path) -> Document:
    """Read one export of CVAT, or all that a folder holds.

    Images are looked for under ``images/<subset>/``, ``images/`` and beside the file. Frames of a video are
    the files ``frame_000000.*`` in the folder, else those of the video file itself. Splits are the subsets,
    else folders like ``train`` and ``val``, else the names of several files.

    Parameters
    ----------
    root
        An XML file, or a folder with one or several of any name.

    Raises
    ------
    DataError
        There is no export in it, or the only one cannot be read.
    """
    files = [root] if root.is_file() else [path for path in files_with(root, (".xml",)) if _is_export(path)]
    if not files:
        raise DataError(f"{root}: holds no XML of CVAT; export as CVAT for images 1.1 or CVAT for video 1.1")
    folder = root if root.is_dir() else root.parent
    reader = _Reader(folder, alone=len(files) == 1)
    for path in files:
        try:
            tree = read_xml(path)
            if tree.tag != "annotations":
                raise DataError(
                    f"{path}: expected <annotations> of CVAT XML 1.1, found <{tree.tag[:40]}>; "
                    "export as CVAT for images 1.1 or CVAT for video 1.1"
                )
            reader.read(path, tree)
        except DataError as error:
            if len(files) == 1:
                raise
            reader.findings.add(
                "unreadable_file", "annotation files that cannot be read", str(error), level="error"
            )
    return reader.document()


@dataclass
class _Task:
    """What the meta data of an export say about the frames of one video."""

    start: int = 0
    stop: int | None = None
    step: int = 1
    height: int = 0
    width: int = 0
    split: str | None = None
    tracks: list[list[Keyframe]] = field(default_factory=list)

    def grid(self, mentioned: set[int], findings: Findings, where: str) -> list[int]:
        """The frames of the task, sorted, and what the tracks mention besides."""
        first, last = min(mentioned), max(mentioned)
        known = range(self.start, last + 1 if self.stop is None else self.stop + 1, self.step)
        if not all(frame in known for frame in mentioned):
            message = "exports with frames that the task does not have (start_frame, stop_frame, step)"
            findings.add("odd_frames", message, where, "check that images and labels belong together")
            known = range(first, last + 1)
        if len(known) > _MOST_FRAMES:
            raise DataError(f"{where}: {len(known)} frames, expected at most {_MOST_FRAMES}; export in parts")
        return sorted(mentioned.union(known))


class _Reader:
    """Gathers the images of one or several exports in a folder."""

    def __init__(self, folder: Path, alone: bool) -> None:
        self.folder, self.alone = folder, alone
        self.finder = ImageFinder(folder)
        self.findings = Findings()
        self.images: list[AnnotatedImage] = []
        self.colours: dict[str, Colour | None] = {}
        self.types: dict[tuple[str, str], str] = {}
        self.used: dict[str, None] = {}
        self.hidden: set[str] = set()

    def document(self) -> Document:
        self._note_repeated()
        for image in self.images:
            self.used.update(dict.fromkeys(shape.label for shape in image.shapes))
        names = [name for name in self.colours if name not in self.hidden or name in self.used]
        colours = [colour for name in names if (colour := self.colours[name]) is not None]
        return Document(
            self.images,
            names,
            colours if len(colours) == len(names) else [],
            self.findings.problems(),
        )

    def read(self, path: Path, tree: Element) -> None:
        name = str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else path.name
        begin = len(self.images)
        meta = tree.find("meta")
        if meta is not None:
            self._read_labels(meta)
        for number, element in enumerate(tree.iter("image")):
            self.images.append(self._image(element, path, f"{name}: image {element.get('id', number)}"))
        tasks = _tasks(meta, self.findings, name)
        numbers = _track_numbers(tree)
        for element, track in zip(tree.iter("track"), numbers, strict=True):
            task = tasks.get(element.get("task_id", ""), next(iter(tasks.values())))
            task.tracks.append(self._track(element, track, f"{name}: track {element.get('id', track)}"))
        for task in tasks.values():
            if any(task.tracks):
                self.images += self._frames(task, path, meta, name)
        split = split_of_export(path, self.folder, self.alone)
        for image in self.images[begin:]:
            image.split = image.split or split
        for element in tree:
            if element.tag not in ("version", "meta", "image", "track"):
                self.findings.add(
                    "left_out", f"elements <{element.tag[:40]}> outside of images and tracks", name
                )

    def _read_labels(self, meta: Element) -> None:
        for label in meta.iter("label"):
            name = (label.findtext("name") or "").strip()
            if not name:
                continue
            # Labels of whole images and the joints of a skeleton are no classes of pixels.
            if label.findtext("type") == "tag" or label.find("parent") is not None:
                self.hidden.add(name)
            match = _COLOUR.fullmatch((label.findtext("color") or "").strip())
            rgb = bytes.fromhex(match[1]) if match else None
            self.colours[name] = (rgb[0], rgb[1], rgb[2]) if rgb else self.colours.get(name)
            for attribute in label.iter("attribute"):
                key = (name, attribute.findtext("name") or "")
                self.types[key] = attribute.findtext("input_type") or "text"

    def _image(self, element: Element, path: Path, where: str) -> AnnotatedImage:
        subset = element.get("subset", "")
        name = element.get("name", "")
        if not name:
            self.findings.add("no_image_name", "images without a name", where, "export it again")
        height, width = stated_size(element.get("height"), element.get("width"), where, self.findings)
        image = AnnotatedImage(name, path, height, width, split=_split(subset))
        image.path = self._find(name, subset, path.parent)
        for number, child in enumerate(element):
            place = f"{where} ({name}), {child.tag[:40]} {number}"
            if child.tag == "tag":
                image.tags[child.get("label", "")] = self._tag(child)
                continue
            try:
                image.shapes += self._shape(child, child.get("label", "").strip(), (height, width), place)
            except DataError as error:
                self._note_bad(error)
        return image

    def _find(self, name: str, subset: str, base: Path) -> Path | None:
        places = (f"images/{subset}/{name}", f"images/{name}", name) if subset else (f"images/{name}", name)
        return next((path for place in places if name and (path := self.finder.find(place, base))), None)

    def _tag(self, element: Element) -> Any:
        """What a tag says: True, its attributes, or the value alone where that is all there is."""
        attributes = self._attributes(element, element.get("label", ""))
        return attributes["value"] if attributes.keys() == {"value"} else attributes or True

    def _attributes(self, element: Element, label: str) -> dict[str, Any]:
        found = {}
        for child in element.findall("attribute"):
            name = child.get("name", "")
            found[name] = _typed(child.text or "", self.types.get((label, name), "text"))
        return found

    def _shape(self, element: Element, label: str, size: tuple[int, int], where: str) -> list[Shape]:
        """The shape of an element; none when it is of a kind that is left out."""
        attributes = self._attributes(element, label)
        if element.tag == "skeleton":
            fix = "only the visible points are kept, without the lines between them"
            self.findings.add("skeleton", "skeletons read as points", where, fix)
            joints = [joint for joint in element.findall("points") if not _is_outside(joint)]
            if not joints:
                return []
            places = np.stack([_pairs(joint, where, 1)[0] for joint in joints])
            geometry: Geometry = Points(places)
            attributes["points"] = [joint.get("label", "") for joint in joints]
        elif element.tag in _GEOMETRIES:
            geometry = _GEOMETRIES[element.tag](element, size, where)
        else:
            fix = "draw them with another tool of CVAT" if element.tag == "cuboid" else ""
            self.findings.add("left_out", f"shapes of the kind {element.tag[:40]}, left out", where, fix)
            return []
        if not label:
            fix = "give them a label in CVAT"
            self.findings.add("no_label", "shapes without a label, whose pixels are ignored", where, fix)
        return [
            Shape(
                label or IGNORED,
                geometry,
                z=whole(element.get("z_order", 0), f"{where}: z_order", -(2**31)),
                group=whole(element.get("group_id", 0), f"{where}: group_id") or None,
                track=_take_track(attributes),
                occluded=element.get("occluded") == "1",
                attributes=attributes,
            )
        ]

    def _track(self, element: Element, number: int, where: str) -> list[Keyframe]:
        label = element.get("label", "").strip()
        keyframes: dict[int, Keyframe] = {}
        for child in element:
            try:
                frame = whole(child.get("frame"), f"{where}: frame")
                outside = _is_outside(child)
                place = f"{where}, frame {frame}"
                shape = self._shape_of_track(child, label, outside, place)
            except DataError as error:
                self._note_bad(error)
                continue
            if shape is None and not outside:
                continue
            if frame in keyframes:
                message = "frames that a track has twice; the later one counts"
                self.findings.add("repeated_frame", message, place)
            if shape is not None:
                shape.track = number
                shape.group = whole(element.get("group_id", 0), f"{where}: group_id") or None
            keyframes[frame] = Keyframe(frame, shape, outside)
        return [keyframes[frame] for frame in sorted(keyframes)]

    def _shape_of_track(self, element: Element, label: str, outside: bool, where: str) -> Shape | None:
        """The shape at a frame; the one at the end of a track need not be good, it is not painted."""
        if outside and element.tag not in _GEOMETRIES:
            return None
        try:
            return next(iter(self._shape(element, label, (0, 0), where)), None)
        except DataError:
            if outside:
                return None
            raise

    def _frames(self, task: _Task, path: Path, meta: Element | None, name: str) -> Iterator[AnnotatedImage]:
        """The frames of a video that are there, or that somebody drew on."""
        mentioned = {keyframe.frame for track in task.tracks for keyframe in track}
        grid = task.grid(mentioned, self.findings, name)
        files = self._frame_files(task, path.parent, grid, name)
        video = _video(self.finder, path.parent, meta)
        if files and video is None:
            # CVAT leaves out frames that somebody deleted; nothing is to be guessed for those.
            grid = [frame for frame in grid if frame in mentioned or frame in files]
        shapes: dict[int, list[Shape]] = defaultdict(list)
        for track in task.tracks:
            if track and (last := track[-1]).shape and not last.outside and last.frame < grid[-1]:
                message = "tracks without an end (outside), seen until the end of the task"
                where = f"{name}: track {last.shape.track}"
                self.findings.add("open_track", message, where, "end them in CVAT where they should end")
            for frame, shape in spread(track, grid):
                shapes[frame].append(shape)
        for frame in grid:
            file = files.get(frame)
            if file is None and video is None and frame not in mentioned and frame not in shapes:
                continue
            image = AnnotatedImage(f"frame_{frame:06}.png", path, task.height, task.width, shapes[frame])
            image.path, image.split = file or video, task.split
            if file is None:
                image.frame = frame
            elif FRAME_NAME.fullmatch(file.stem):
                image.name = file.name
            else:
                image.name = file.relative_to(path.parent).as_posix().removeprefix("images/")
            yield image

    def _frame_files(self, task: _Task, base: Path, grid: list[int], where: str) -> dict[int, Path]:
        """The image of each frame, by the number in its name, else by the order of the names."""
        images = list_images(base)
        files: dict[int, Path] = {}
        for image in images:
            match = FRAME_NAME.fullmatch(image.stem)
            if match and (int(match[1]) not in files or _split(image.parent.name) == task.split):
                files[int(match[1])] = image
        if len(images) != len(grid) or len(files) == len(images):
            return files
        message = "videos whose images have other names than frame_000000, matched in the order of the names"
        self.findings.add("frames_by_order", message, where, "check that images and labels belong together")
        return dict(zip(grid, images, strict=True))

    def _note_bad(self, error: DataError) -> None:
        fix = "mend them in CVAT and export again"
        self.findings.add("bad_shape", "shapes that cannot be read, left out", str(error), fix)

    def _note_repeated(self) -> None:
        seen: set[Any] = set()
        for image in self.images:
            key = (image.path or image.source, image.split, image.name, image.frame)
            if key in seen:
                message = "images that are annotated more than once, each kept as a sample of its own"
                fix = "export one task, not overlapping jobs"
                self.findings.add("repeated_image", message, f"{image.source.name}: {image.name}", fix)
            seen.add(key)


def _split(subset: str) -> str | None:
    return None if subset in _NO_SUBSET else SPLIT_NAMES.get(subset.lower(), subset)


def _typed(text: str, input_type: str) -> Any:
    """The value of an attribute by the type that its label declares.

    >>> _typed("true", "checkbox"), _typed("2.50", "number"), _typed("7", "text")
    (True, 2.5, '7')
    """
    if input_type == "checkbox" and text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    if input_type != "number":
        return text
    try:
        number = float(text)
        return int(text) if _WHOLE.fullmatch(text) else number if math.isfinite(number) else text
    except ValueError:
        return text


def _take_track(attributes: dict[str, Any]) -> int | None:
    """The number of a track that is kept as an attribute; taken out of the attributes."""
    try:
        track = whole(attributes["track_id"], "track_id")
    except (KeyError, DataError):
        return None
    del attributes["track_id"]
    return track


def _tasks(meta: Element | None, findings: Findings, where: str) -> dict[str, _Task]:
    """The tasks of an export by number, at least one; tracks that name no task belong to the first."""
    described = [] if meta is None else [*chain(meta.iter("task"), meta.iter("job"))]
    tasks: dict[str, _Task] = {}
    for element in described:
        task = _Task(split=_split(element.findtext("subset") or ""))
        size = element.find("original_size")
        if size is not None:
            task.height, task.width = stated_size(
                size.findtext("height"), size.findtext("width"), where, findings
            )
        step = _STEP.search(element.findtext("frame_filter") or "")
        task.step = max(int(step[1]), 1) if step else 1
        try:
            task.start = whole(element.findtext("start_frame") or 0, f"{where}: start_frame")
            if element.findtext("stop_frame"):
                task.stop = whole(element.findtext("stop_frame"), f"{where}: stop_frame")
            elif element.findtext("size"):
                length = whole(element.findtext("size"), f"{where}: size")
                task.stop = task.start + max(length - 1, 0) * task.step
        except DataError as error:
            findings.add("bad_meta", "frame ranges that cannot be, taken from the tracks", str(error))
        tasks[element.findtext("id") or str(len(tasks))] = task
    return tasks or {"": _Task()}


def _track_numbers(tree: Element) -> Iterator[int]:
    """A number for each track: its own where that is one and new, else the next free one."""
    tracks = [*tree.iter("track")]
    own = {element.get("id", "") for element in tracks}
    free = (number for number in count() if str(number) not in own)
    taken: set[int] = set()
    for element in tracks:
        try:
            number = whole(element.get("id"), "")
        except DataError:
            number = -1
        number = next(free) if number < 0 or number in taken else number
        taken.add(number)
        yield number


def _video(finder: ImageFinder, base: Path, meta: Element | None) -> Path | None:
    """The video file of a task: the one that it names, else the only one beside the annotations."""
    source = "" if meta is None else next(meta.iter("source"), Element("source")).text or ""
    named = finder.find(source, base) if Path(source).suffix.lower() in VIDEO_SUFFIXES else None
    videos = [path for path in base.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    return named or (videos[0] if len(videos) == 1 else None)


def _is_outside(element: Element) -> bool:
    """Whether a shape of a track is not seen; a skeleton when none of its points is."""
    joints = element.findall("points")
    return element.get("outside") == "1" or (bool(joints) and all(map(_is_outside, joints)))


def _numbers(element: Element, names: Iterable[str], where: str) -> list[float]:
    values: list[float] = finite([element.get(name) for name in names], where).tolist()
    return values


def _angle(element: Element, where: str) -> float:
    return float(finite([element.get("rotation", 0)], f"{where}: rotation")[0])


def _pairs(element: Element, where: str, at_least: int) -> np.ndarray:
    """N×2 from ``x,y;x,y``."""
    text = element.get("points", "")
    values = finite(text.replace(";", ",").split(",") if text else [], f"{where}: points", 2 * at_least)
    if len(values) % 2:
        raise DataError(f"{where}: points: expected pairs x,y, found {len(values)} numbers")
    return values.reshape(-1, 2)


def _box(element: Element, size: tuple[int, int], where: str) -> Box:
    x0, y0, x1, y1 = _numbers(element, ("xtl", "ytl", "xbr", "ybr"), where)
    return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1), _angle(element, where))


def _ellipse(element: Element, size: tuple[int, int], where: str) -> Ellipse:
    cx, cy, rx, ry = _numbers(element, ("cx", "cy", "rx", "ry"), where)
    if rx < 0 or ry < 0:
        raise DataError(f"{where}: expected half axes of 0 or more, found {rx:g} and {ry:g}")
    return Ellipse(cx, cy, rx, ry, _angle(element, where))


def _mask(element: Element, size: tuple[int, int], where: str) -> Bitmap:
    left, top, width, height = (
        whole(value, f"{where}: left, top, width, height", low=-(2**24), high=2**24)
        for value in _numbers(element, ("left", "top", "width", "height"), where)
    )
    limits = f"{width}x{height} pixels at ({left}, {top})"
    known = size if all(size) else None
    if width < 1 or height < 1 or width * height > (MAX_PIXELS if known else _MOST_OF_A_TRACK):
        raise DataError(f"{where}: a mask of {limits}")
    if known and (left < 0 or top < 0 or left + width > known[1] or top + height > known[0]):
        raise DataError(f"{where}: a mask of {limits}, outside of the image of {known[1]}x{known[0]}")
    text = element.get("rle", "")
    runs = finite(text.split(",") if text.strip() else [], f"{where}: rle")
    if (runs < 0).any() or (runs != np.floor(runs)).any():
        raise DataError(f"{where}: rle: expected run lengths, found a negative or broken number")
    if runs.sum() > width * height:
        raise DataError(f"{where}: rle: {int(runs.sum())} pixels, more than its window of {limits}")
    # Runs along the rows are those along the columns of the mask on its side; a short last run is off.
    window = decode_runs(runs.astype(np.int64), width, height).T
    return Bitmap(left, top, height, width, encode_runs(window))


_GEOMETRIES: dict[str, Callable[[Element, tuple[int, int], str], Geometry]] = {
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
    "polygon": lambda element, size, where: Polygon.of(_pairs(element, where, 3)),
    "polyline": lambda element, size, where: Polyline(_pairs(element, where, 2)),
    "points": lambda element, size, where: Points(_pairs(element, where, 1)),
}
