"""YOLO's text files: one row a shape, ``class x y x y ...`` in shares of the image's width and height.

Source: https://docs.ultralytics.com/datasets/segment/ and RectLabel's exports. A row of 5 numbers is a box
(centre and size); a number more than pairs need is a confidence; a box followed by ``x y visibility``
triples is a pose, of which the box is read. An empty or missing text file is an image without objects.

``path`` of ``data.yaml`` is taken relative to the YAML file (Ultralytics resolves it against a folder of its
settings), and nothing outside the data's folder is read. Coordinates are shares of the upright image, so
the headers of images with rows are read when the data set is opened, several at a time.

One ring a row: holes are written as keyholes, which the even-odd rule fills rightly here. Ultralytics
resamples outlines to 1,000 points when it trains, which blurs keyholes.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.data.adapt import Holds
from pixelwise.data.annotations import BACKGROUND_NAMES, AnnotatedImage, Document, Findings, finite, whole
from pixelwise.data.classes import find_class_file
from pixelwise.data.locate import ImageFinder
from pixelwise.data.pairing import SPLIT_NAMES
from pixelwise.data.raster import box_corners
from pixelwise.data.sniff import files_with, first_files, text_head
from pixelwise.errors import DataError
from pixelwise.io import image_size, list_images, read_label_file, write_text
from pixelwise.io.documents import read_text
from pixelwise.labels import LabelMap
from pixelwise.shapes import Box, Geometry, Polygon, Shape, Vertices

HOLDS = Holds(kinds=frozenset({"polygon", "box"}), splits=True)
"""Outlines and boxes with a class; nothing else has a place in a row."""

_LOOK_AT = 12  # text files of a folder; the first are often lists of classes and of images
_YAML = (".yaml", ".yml")
_ROUNDING = 0.01  # of the image's size; some tools let outlines end a pixel outside
_READERS = 8
_MOST_UNNAMED = 999  # without names, a higher class is a damaged row


def recognise(root: Path) -> bool:
    """Whether there are text files with YOLO's rows, or a YAML file that names classes and splits."""
    if root.is_file():
        return root.suffix.lower() in _YAML and _looks_like_config(root)
    if any(_has_rows(path) for path in first_files(root, (".txt",), _LOOK_AT)):
        return True
    return (
        (root / "labels").is_dir()
        and bool(first_files(root / "labels", (".txt",), 1))
        and bool(_configs(root))
    )


def _has_rows(path: Path) -> bool:
    lines = text_head(path, 1 << 14).splitlines()
    cells = next((line for line in lines if line.strip()), "").split()
    if len(cells) < 5 or not cells[0].isdecimal() or "." not in "".join(cells[1:5]):
        return False
    try:
        return all(-_ROUNDING <= float(cell) <= 1 + _ROUNDING for cell in cells[1:5])
    except ValueError:
        return False


def _looks_like_config(path: Path) -> bool:
    return re.search(r"^names\s*:", text_head(path, 1 << 16), re.M) is not None


def _configs(root: Path) -> list[Path]:
    """YAML files that name classes, the usual names first."""
    found = [path for path in sorted(root.iterdir()) if path.suffix.lower() in _YAML and path.is_file()]
    usual = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
    return sorted(filter(_looks_like_config, found), key=lambda path: path.name.lower() not in usual)


def load(root: Path) -> Document:
    """Everything that a YOLO data set says.

    Parameters
    ----------
    root
        The data's folder, or its YAML file. Without a YAML file all images of the folder belong to it, the
        text files are found by stem in any folder, and the classes are those of ``classes.txt`` or the like.

    Raises
    ------
    DataError
        The YAML file cannot be read, or there is no image.
    """
    folder = root if root.is_dir() else root.parent
    configs = [root] if root.is_file() else _configs(root)
    findings = Findings()
    config = _read_config(configs[0], findings) if configs else _Config(folder, _class_file(folder))
    images = _images_of(config, folder, findings)
    if not images:
        raise DataError(f"{root}: no image was found; expected images/ with labels/ beside it")
    finder, labelled = _Labels(folder), []
    for image in images:
        assert image.path is not None
        labels = finder.find(image.path)
        if labels is not None:
            image.source = labels
            labelled.append(image)
    _note_lonely(finder, folder, findings)
    _read_rows(labelled, folder, config, findings)
    names = list(dict.fromkeys(config.names.values()))
    return Document(images, names, problems=findings.problems())


@dataclass
class _Config:
    """What the YAML file says, or what goes without one."""

    base: Path
    names: dict[int, str]
    splits: dict[str, list[str]] = field(default_factory=dict)
    pose: bool = False
    source: Path | None = None


def _read_config(path: Path, findings: Findings) -> _Config:
    import yaml

    try:
        # Every scalar stays text: a class called "no" is not a boolean.
        content = yaml.load(read_text(path), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path}: not valid YAML ({reason}); see the example in the guide") from None
    if not isinstance(content, dict) or "names" not in content:
        raise DataError(f"{path}: expected 'names' with the class names, and 'train', 'val' or 'test'")
    names = _names(content["names"], path)
    for name in (name for name, count in Counter(names.values()).items() if count > 1):
        findings.add(
            "repeated_name", "class names that come twice, taken for one class", f"{path.name}: {name}"
        )
    count = content.get("nc")
    if isinstance(count, str) and count.isdecimal() and int(count) != len(names):
        message = "the number of classes 'nc' is not that of 'names', which counts"
        findings.add("class_count", message, f"{path.name}: {count} and {len(names)}")
    base = _inside(path.parent, path.parent, str(content.get("path") or "."))
    if base is None or not base.is_dir():
        message = "'path' is no folder beside the YAML file, whose own folder is taken instead"
        findings.add("path", message, f"{path.name}: path: {content['path']}")
        base = path.parent
    splits = {key: _as_list(value, f"{path}: {key}") for key, value in content.items() if key in SPLIT_NAMES}
    return _Config(base, names, splits, "kpt_shape" in content, path)


def _names(value: Any, path: Path) -> dict[int, str]:
    pairs = (
        list(enumerate(value))
        if isinstance(value, list)
        else [*value.items()]
        if isinstance(value, dict)
        else []
    )
    names = {}
    for key, name in pairs:
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{path}: name of class {key}: expected text, found {str(name)[:40]}")
        names[whole(key, f"{path}: number of the class '{name}'")] = name.strip()
    if not names:
        raise DataError(f"{path}: 'names' should be a list of class names, or numbers with names")
    return dict(sorted(names.items()))


def _as_list(value: Any, where: str) -> list[str]:
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in items):
        raise DataError(f"{where}: expected a folder, a text file or a list of them")
    return [item for item in items if item.strip() and item != "null"]


def _class_file(folder: Path) -> dict[int, str]:
    """Class names of a folder without a YAML file; LabelImg puts the list among the labels."""
    places = [folder, *(path for path in (folder / "labels",) if path.is_dir())]
    found = next((file for place in places if (file := find_class_file(place))), None)
    if found is None:
        found = next(iter(sorted(folder.glob("*.names"))), None)
    if found is None:
        return {}
    labels, values = read_label_file(found)
    if not values:
        return dict(enumerate(labels.names))
    return {value: labels.names[to] if to < len(labels) else "ignore" for value, to in values.items()}


def _images_of(config: _Config, folder: Path, findings: Findings) -> list[AnnotatedImage]:
    """The images of every split of the configuration; where it leads to none, those of the folder."""
    images = _listed_images(config, folder, findings)
    if not images:
        images = [
            AnnotatedImage(
                _short(path.relative_to(folder)), path, path=path, split=_split_of(path.relative_to(folder))
            )
            for path in list_images(folder)
        ]
    return images


def _listed_images(config: _Config, folder: Path, findings: Findings) -> list[AnnotatedImage]:
    images: dict[Path, AnnotatedImage] = {}
    finder = ImageFinder(folder)
    for key, places in config.splits.items():
        for place in places:
            for path, name in _listed(place, config, finder, findings):
                if path in images:
                    message = "images that are listed twice, the first counts"
                    findings.add("repeated_image", message, f"{key}: {path.relative_to(folder)}")
                    continue
                images[path] = AnnotatedImage(name, path, path=path, split=SPLIT_NAMES[key])
    return [*images.values()]


def _listed(
    place: str, config: _Config, finder: ImageFinder, findings: Findings
) -> Iterator[tuple[Path, str]]:
    """(path, name) of the images in a folder or in a text file of names."""
    found = _inside(finder.root, config.base, place)
    name = config.source.name if config.source else ""
    if found is None:
        fix = "put it there, or change the YAML file"
        message = "folders or lists of a split that are not there"
        findings.add("missing_split", message, f"{name}: {place}", fix)
    elif found.is_dir():
        yield from ((path, path.relative_to(found).as_posix()) for path in list_images(found))
    else:
        for number, line in enumerate(read_text(found).splitlines(), 1):
            if not line.strip():
                continue
            path = finder.find(line, found.parent)
            if path is None:
                where = f"{found.name}:{number}: {line.strip()}"
                findings.add("missing_image", "listed images that are not in the folder", where)
            else:
                yield path, _short(path.relative_to(finder.root))


def _inside(root: Path, base: Path, place: str) -> Path | None:
    """What a configuration points to, if it is there and inside the root.

    Roboflow writes ``../train/images`` and means ``train/images``.
    """
    bare = re.sub(r"^(?:\.\.?/)+", "", place.strip().replace("\\", "/"))
    for folder, name in ((base, place.strip()), (base, bare), (root, bare)):
        path = Path(os.path.normpath(folder / name))
        if "\0" not in name and path.is_relative_to(os.path.normpath(root)) and os.path.exists(path):
            return path
    return None


def _split_of(path: Path) -> str | None:
    return next((SPLIT_NAMES[part.lower()] for part in path.parts[:-1] if part.lower() in SPLIT_NAMES), None)


def _short(path: Path) -> str:
    """An image's name without the folders that only say "images" and the split.

    >>> _short(Path("train/images/a/1.jpg")), _short(Path("images/val/1.jpg"))
    ('a/1.jpg', '1.jpg')
    """
    parts = list(path.parts)
    while len(parts) > 1 and (parts[0].lower() in SPLIT_NAMES or parts[0].lower() == "images"):
        parts = parts[1:]
    return "/".join(parts)


class _Labels:
    """Finds the text file of an image: where YOLO has it, beside it, or by its stem alone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.used: set[Path] = set()
        self.by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in files_with(root, (".txt",)):
            self.by_stem[path.stem].append(path)

    def find(self, image: Path) -> Path | None:
        """The text file, or None when there is none or several could be meant."""
        relative = image.relative_to(self.root).with_suffix(".txt")
        parts = list(relative.parts)
        places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
        usual = [*parts[: places[-1]], "labels", *parts[places[-1] + 1 :]] if places else parts
        candidates = self.by_stem.get(relative.stem, [])
        for wanted in (self.root.joinpath(*usual), self.root / relative):
            if wanted in candidates:
                self.used.add(wanted)
                return wanted
        # Folders with names of their own (RectLabel): the same path but for one folder.
        alike = [path for path in candidates if path.relative_to(self.root).parts[1:] == tuple(parts[1:])]
        for found in (alike, candidates):
            # In labels/ the place says whose they are: those of another split are none of this image.
            if len(found) == 1 and not (places and "labels" in found[0].relative_to(self.root).parts):
                self.used.add(found[0])
                return found[0]
        return None


def _note_lonely(finder: _Labels, folder: Path, findings: Findings) -> None:
    for paths in finder.by_stem.values():
        for path in paths:
            if path not in finder.used and _has_rows(path):
                where = str(path.relative_to(folder))
                findings.add(
                    "labels_without_image", "text files with rows, but without an image, left out", where
                )


def _read_rows(images: Sequence[AnnotatedImage], folder: Path, config: _Config, findings: Findings) -> None:
    """Fill the images with the shapes of their text files."""
    rows: list[tuple[AnnotatedImage, str, list[str]]] = []
    for image in images:
        where = str(image.source.relative_to(folder))
        try:
            lines = read_text(image.source).splitlines()
        except DataError as error:
            findings.add("unreadable_file", "files that cannot be read", str(error), level="error")
            continue
        if any(line.strip() for line in lines):
            rows.append((image, where, lines))
    unknown: set[int] = set()
    for (image, where, lines), size in zip(rows, _sizes([image for image, _, _ in rows]), strict=True):
        if isinstance(size, DataError):
            findings.add(
                "unreadable_image",
                "images that cannot be read, whose rows are left out",
                str(size),
                level="error",
            )
            continue
        image.height, image.width = size
        for number, line in enumerate(lines, 1):
            if line.strip():
                _add_row(image, line, f"{where}:{number}", config, unknown, findings)
    if unknown:
        config.names = {number: f"class {number}" for number in range(max(unknown) + 1)}
        findings.add(
            "no_names",
            "nothing says what the classes are called",
            str(folder),
            "add data.yaml or classes.txt",
        )


def _sizes(images: Iterable[AnnotatedImage]) -> Iterator[tuple[int, int] | DataError]:
    def size(image: AnnotatedImage) -> tuple[int, int] | DataError:
        try:
            return image_size(image.path or "")
        except DataError as error:
            return error

    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(size, images)


def _add_row(
    image: AnnotatedImage, line: str, where: str, config: _Config, unknown: set[int], findings: Findings
) -> None:
    cells = line.split()
    try:
        class_id = whole(cells[0], f"{where}: class", high=65534 if config.names else _MOST_UNNAMED)
        if config.names and class_id not in config.names:
            message = "rows with a class that does not exist, left out"
            findings.add("unknown_class", message, f"{where}: class {class_id}", level="error")
            return
        if not config.names:
            unknown.add(class_id)
        pose = config.pose or _is_pose(cells)
        if pose:
            findings.add("keypoints", "sets of keypoints, which are not read", where)
        geometry, score = _geometry(cells[1:5] if pose else cells[1:], where, image)
        image.shapes.append(Shape(config.names.get(class_id, f"class {class_id}"), geometry, score=score))
    except DataError as error:
        findings.add("bad_shape", "rows that cannot be read, left out", str(error))


def _is_pose(cells: Sequence[str]) -> bool:
    """Whether a box is followed by triples of x, y and visibility.

    A 2 must be among them, which no share of an image is: outlines along the border have 0 and 1 as well.
    """
    marks = cells[7::3]
    return (len(cells) - 5) % 3 == 0 and "2" in marks and set(marks) <= {"0", "1", "2"}


def _geometry(cells: Sequence[str], where: str, image: AnnotatedImage) -> tuple[Geometry, float | None]:
    numbers = finite(cells, where, at_least=4)
    score = float(numbers[-1]) if len(numbers) % 2 else None
    shares = numbers[:-1] if score is not None else numbers
    if shares.min() < -_ROUNDING or shares.max() > 1 + _ROUNDING or not 0 <= (score or 0) <= 1:
        strange = max(numbers.tolist(), key=lambda number: abs(number - 0.5))
        raise DataError(f"{where}: expected shares of the image from 0 to 1, found {strange:g}")
    if len(shares) > 4:
        return Polygon.of(shares.reshape(-1, 2) * (image.width, image.height)), score
    x, y, width, height = (shares * (image.width, image.height, image.width, image.height)).tolist()
    if width <= 0 or height <= 0:
        raise DataError(f"{where}: a box of no size")
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2), score


# Writing


def tidy_name(name: str) -> str:
    """YOLO takes any relative path."""
    return name


def image_path(image: AnnotatedImage) -> str:
    """``images/{split}/{name}``, or ``images/{name}`` without splits."""
    return f"images/{image.split}/{image.name}" if image.split else f"images/{image.name}"


def save(document: Document, path: Path, labels: LabelMap) -> None:
    """Write ``labels/`` and ``data.yaml``.

    Boxes are rows of 5 numbers when there is nothing else, and outlines otherwise: Ultralytics does not
    take both in one file.
    """
    used = {shape.label for image in document.images for shape in image.shapes}
    named = [name for name in labels.names if name in used or name.lower() not in BACKGROUND_NAMES]
    names = [*named, *sorted(used - set(named))]
    ids = {name: position for position, name in enumerate(names)}
    plain = all(isinstance(shape.geometry, Box) for image in document.images for shape in image.shapes)
    for image in document.images:
        rows = [(ids[shape.label], _row(shape.geometry, image, plain)) for shape in image.shapes]
        where = Path(image_path(image).replace("images/", "labels/", 1)).with_suffix(".txt")
        write_text(path / where, "".join(f"{class_id} {row}\n" for class_id, row in rows if row))
    splits = {
        image.split or "train": f"images/{image.split}" if image.split else "images"
        for image in document.images
    }
    write_text(path / "data.yaml", _yaml({"path": ".", **splits}, names))


def _row(geometry: Geometry, image: AnnotatedImage, plain: bool) -> str:
    """The numbers of a row; empty when nothing of the shape lies inside the image."""
    size = np.array([image.width, image.height], np.float64)
    if isinstance(geometry, Box) and plain:
        corners = box_corners(geometry)[[0, 2]].clip(0, size)
        numbers = np.array([corners.mean(0), corners[1] - corners[0]]) / size
        empty = bool((numbers[1] <= 0).any())
    else:
        outline = box_corners(geometry) if isinstance(geometry, Box) else _outline(geometry)
        numbers = _cut(outline, size) / size
        empty = len(numbers) < 3
    return "" if empty else " ".join(f"{number:.7g}" for number in numbers.ravel())


def _outline(geometry: Geometry) -> Vertices:
    assert isinstance(geometry, Polygon)
    return geometry.rings[0].exterior


def _cut(ring: Vertices, size: Vertices) -> Vertices:
    """The part of a ring inside the image (Sutherland and Hodgman, 1974)."""
    for axis in (0, 1):
        for sign, limit in ((1.0, 0.0), (-1.0, -size[axis])):
            depth = sign * ring[:, axis] - limit
            if len(ring) == 0 or depth.min() >= 0:
                continue
            kept: list[np.ndarray] = []
            for point, here, before, there in zip(
                ring, depth, np.roll(ring, 1, 0), np.roll(depth, 1), strict=True
            ):
                if (here >= 0) != (there >= 0):
                    kept.append(before + (point - before) * (there / (there - here)))
                if here >= 0:
                    kept.append(point)
            ring = np.array(kept, np.float64).reshape(-1, 2)
    return ring.clip(0, size)  # the last digit


def _yaml(splits: Mapping[str, str], names: Sequence[str]) -> str:
    import yaml

    content = {**splits, "names": dict(enumerate(names))}
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
