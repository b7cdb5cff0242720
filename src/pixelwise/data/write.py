"""Write a data set in the format of an annotation tool, and say what that format could not hold."""

from __future__ import annotations

import itertools
import os
import posixpath
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pixelwise.data.adapt import Holds, adapt, tie_parts
from pixelwise.data.annotations import BACKGROUND_NAMES, IGNORED, AnnotatedImage, Document, size_of
from pixelwise.data.formats import TARGETS
from pixelwise.data.geometry import trace
from pixelwise.data.locate import as_posix
from pixelwise.errors import DataError, Problem, UsageError, unknown_name
from pixelwise.io import atomic_write, explained, is_image, write_image
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample
from pixelwise.shapes import Shape

Images = Literal["copy", "link", "none"]
UNSPLIT = "unsplit"
"""Where samples go that are in no split, when others are in one."""
_IMAGE_MODES = ("copy", "link", "none")
_IMAGE_FOLDERS = ("images", "jpegimages", "imgs", "photos")


@dataclass
class WriteReport:
    """What was written, and what was lost.

    Attributes
    ----------
    format, path
        What was written where.
    images, shapes
        How many.
    losses
        What the format could not hold, with how often.
    problems
        What could not be read on the way.
    """

    format: str
    path: Path
    images: int = 0
    shapes: int = 0
    losses: Counter[str] = field(default_factory=Counter)
    problems: tuple[Problem, ...] = ()

    def text(self) -> str:
        """A few lines of plain text."""
        lines = [f"{self.images} images with {self.shapes} shapes as {self.format} in {self.path}"]
        lines += [f"  {reason}: {count}" for reason, count in sorted(self.losses.items())]
        lines += [f"  {problem.level}: {problem.message}" for problem in self.problems]
        return "\n".join(lines if len(lines) > 1 else [*lines, "  nothing was lost"])

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "format": self.format,
            "path": str(self.path),
            "images": self.images,
            "shapes": self.shapes,
            "losses": dict(sorted(self.losses.items())),
            "problems": [vars(problem) | {"files": list(problem.files)} for problem in self.problems],
        }


def write(
    dataset: Dataset[Sample],
    path: str | Path,
    format: str,
    *,
    images: Images = "copy",
    tolerance: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> WriteReport:
    """Write a data set in the format of an annotation tool, images included.

    Shapes are kept as shapes where there are any; a data set of masks is turned into outlines along the
    pixels' edges, one shape for each instance where instances are known, else one for each class.

    Parameters
    ----------
    dataset
        Samples with shapes or masks.
    path
        A folder that is new or empty.
    format
        ``labelme``, ``cvat``, ``via``, ``rectlabel``, ``labelbox``, ``coco``, ``voc``, ``yolo`` or ``masks``.
    images
        ``copy`` the image files, ``link`` to them, or ``none`` to write annotations only.
    tolerance
        By how many pixels outlines made from masks may deviate to save corners; 0 keeps every pixel.
    progress
        Called with (samples done, samples in all).

    Returns
    -------
    WriteReport
        ``losses`` counts everything that the format cannot hold.

    Raises
    ------
    UsageError
        Unknown format, or something that is no data set of images.
    DataError
        The folder is not empty, or an image cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> mask = np.zeros((4, 6), np.uint8); mask[1:3, 1:4] = 1
    >>> sample = Sample(np.zeros((4, 6, 3), np.uint8), mask, meta={"name": "a"})
    >>> data = Dataset([sample], lambda s: s, LabelMap(("background", "car")))
    >>> report = write(data, tempfile.mkdtemp(), "masks")
    >>> report.images, report.shapes, dict(report.losses)
    (1, 1, {})
    """
    if format not in TARGETS:
        raise unknown_name("format", format, TARGETS)
    if images not in _IMAGE_MODES:
        raise unknown_name("way with images", images, _IMAGE_MODES)
    module, out = TARGETS[format], Path(path).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: is there already and not empty; choose a new folder")
    report = WriteReport(format, out, problems=dataset.problems)
    taken: set[str] = set()
    by_split: dict[str | None, list[AnnotatedImage]] = {}
    for number, (record, sample) in enumerate(zip(dataset.records, dataset, strict=True)):
        if not isinstance(sample, Sample):
            kind = type(sample).__name__
            raise UsageError(f"only images with labels can be written as {format}, not a {kind}")
        image = _describe(record, sample, number, dataset.root)
        split = image.split or (UNSPLIT if dataset.splits else None)
        folder = out if module.HOLDS.splits or split is None else out / split
        image.name = _free_name(module.tidy_name(image.name), folder, taken)
        shapes = _shapes(sample, dataset.labels, tolerance, module.HOLDS, report.losses)
        image.shapes = fit(shapes, module.HOLDS, (image.height, image.width), report.losses)
        if image.tags and not module.HOLDS.tags:
            report.losses["tags of an image not written"] += 1
        image.path = _place_image(sample, folder / module.image_path(image), images)
        by_split.setdefault(None if module.HOLDS.splits else split, []).append(image)
        report.images += 1
        report.shapes += len(image.shapes)
        if progress is not None:
            progress(number + 1, len(dataset))
    names, colours = list(dataset.labels.names), list(dataset.labels.colours)
    for split, group in by_split.items():
        document = Document(group, names, colours)
        module.save(document, out if split is None else out / split, dataset.labels)
    return report


def _shapes(
    sample: Sample, labels: LabelMap, tolerance: float, holds: Holds, losses: Counter[str]
) -> list[Shape]:
    """What somebody drew, else the outlines of the mask."""
    if sample.shapes is not None or sample.mask is None:
        return list(sample.shapes or ())
    shapes = outline_shapes(sample, labels, tolerance)
    ignored = trace(sample.mask == labels.ignore)
    if ignored.rings and not holds.ignored:
        losses["ignored area not written"] += 1
    elif ignored.rings:
        shapes.append(Shape(IGNORED, ignored))
    return shapes


def _describe(record: Any, sample: Sample, number: int, root: Path | None) -> AnnotatedImage:
    """The image without its shapes, under a name of its own."""
    if isinstance(record, AnnotatedImage):
        height, width = size_of(record)
        image = replace(record, height=height, width=width, shapes=[], embedded=None)
    else:
        mask = sample.mask
        height, width = sample.size if mask is None else (mask.shape[0], mask.shape[1])
        image = AnnotatedImage(_name(sample, number, root), Path(), height, width)
        image.split = sample.meta.get("split")
    image.name = _tidy(image.name)
    image.split = None if image.split in (None, UNSPLIT) else str(image.split)
    return image


def fit(shapes: Iterable[Shape], holds: Holds, size: tuple[int, int], losses: Counter[str]) -> list[Shape]:
    """Shapes in paint order, turned into what a format can hold."""
    shapes = list(shapes)
    if not holds.order and any(shape.z != shapes[0].z for shape in shapes):
        shapes.sort(key=lambda shape: shape.z)  # the list says the same, and every format has one
    groups = itertools.count(max((s.group for s in shapes if s.group is not None), default=0) + 1)
    fitted: list[Shape] = []
    for shape in shapes:
        parts = adapt(shape, holds, size, losses)
        fitted += tie_parts(parts, groups) if holds.groups else parts
    return fitted


def outline_shapes(sample: Sample, labels: LabelMap, tolerance: float = 0.0) -> list[Shape]:
    """The outlines of a mask: a shape for each instance where they are known, else one for each class.

    A class called background is what is left over where nothing is drawn, so it gets no shape.
    """
    mask, instances = sample.mask, sample.instances
    if mask is None:
        return []
    shapes = []
    skip = {i for i, name in enumerate(labels.names) if name.lower() in BACKGROUND_NAMES} | {labels.ignore}
    for class_id in (int(value) for value in np.unique(mask)):
        if class_id in skip:
            continue
        if class_id >= len(labels):
            raise DataError(f"{sample.name}: mask value {class_id} is no class (0 to {len(labels) - 1})")
        area = mask == class_id
        ids = np.unique(instances[area]) if instances is not None else [0]
        for instance in ids:
            pixels = area & (instances == instance) if instances is not None else area
            outline = trace(pixels, tolerance=tolerance)
            if outline.rings:
                shapes.append(Shape(labels.names[class_id], outline))
    return shapes


def _name(sample: Sample, number: int, root: Path | None) -> str:
    if sample.path is None:
        return sample.name or f"{number:06}"
    inside = root is not None and sample.path.is_relative_to(root)
    return str(sample.path.relative_to(root)) if inside and root is not None else sample.path.name


def _tidy(name: str) -> str:
    """A relative file name without what leads elsewhere, and without folders that only say "images".

    >>> _tidy("images/../a b.jpg"), _tidy("x/JPEGImages/1.jpg"), _tidy("frame_000010")
    ('a b.jpg', 'x/1.jpg', 'frame_000010.png')
    """
    parts = [part for part in posixpath.normpath(as_posix(name)).split("/") if part not in ("", ".", "..")]
    folders = [part for part in parts[:-1] if part.lower() not in _IMAGE_FOLDERS]
    clean = "/".join([*folders, *parts[-1:]]) or "image"
    return clean if is_image(Path(clean)) else f"{clean}.png"


def _free_name(name: str, folder: Path, taken: set[str]) -> str:
    """A name whose stem no other image of this folder has: annotations are told apart by stems."""
    stem, suffix = posixpath.splitext(name)
    for candidate in itertools.chain([stem], (f"{stem}_{n}" for n in itertools.count(2))):
        key = f"{folder}/{candidate}".casefold()
        if key not in taken:
            taken.add(key)
            return candidate + suffix
    raise AssertionError  # the count never ends


def _place_image(sample: Sample, target: Path, mode: Images) -> Path:
    """Bring the image to its place: the very file where there is one, else a picture of its pixels."""
    source = sample.path
    if mode == "none":
        return target
    if source is None or not source.is_file():
        try:
            write_image(target, sample.image)
        except DataError:
            return target  # the reader has told that the image is missing; its annotations are worth keeping
        return target
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if mode == "link":
            target.symlink_to(os.path.abspath(source))
            return target
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
    return target
