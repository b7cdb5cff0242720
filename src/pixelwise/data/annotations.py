"""What every annotation tool's files are read into, and how it becomes a data set.

A format's reader fills a :class:`Document`: images by name, each with the shapes that somebody drew. From
there on all formats are alike: :func:`to_dataset` decides on the classes, finds the images and paints masks
when they are asked for.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps

from pixelwise.data.classes import Classes, find_class_file
from pixelwise.data.raster import FILL_RULES, FillRule, paint
from pixelwise.errors import DataError, Problem, unknown_name
from pixelwise.io import image_size, read_image, read_label_file
from pixelwise.io.images import MAX_PIXELS
from pixelwise.io.labelfiles import is_void
from pixelwise.io.video import read_frame
from pixelwise.labels import Colour, LabelMap, as_label_map
from pixelwise.sample import Dataset, Sample
from pixelwise.shapes import Shape

BACKGROUND = "background"
IGNORED = "ignore"
"""The label of areas that are to be ignored."""
BACKGROUND_NAMES = frozenset({BACKGROUND, "_background_", "__background__", "bg"})
"""Names (lower case) of the class of the pixels that nobody drew on."""


@dataclass(slots=True)
class AnnotatedImage:
    """One image as an annotation file describes it.

    Attributes
    ----------
    name
        What the file calls it: a relative path with forward slashes.
    source
        The annotation file.
    height, width
        Pixels, 0 where the file does not say.
    shapes
        In paint order.
    path
        The image file, or the video that ``frame`` is from; None when it is not there.
    embedded
        The encoded picture itself, or what reads it, when the annotation file carries it.
    split
        Its split, when the format has them.
    frame
        The number of a video's frame.
    tags
        What is said of the whole image: flags, image-level labels, attributes.
    """

    name: str
    source: Path
    height: int = 0
    width: int = 0
    shapes: list[Shape] = field(default_factory=list)
    path: Path | None = None
    embedded: bytes | Callable[[], bytes] | None = field(default=None, repr=False)
    split: str | None = None
    frame: int | None = None
    tags: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Document:
    """Everything that one export of an annotation tool holds.

    Attributes
    ----------
    images
        In the order of the file.
    names, colours
        The classes that the file declares, in its order; empty when it declares none.
    problems
        What could not be read, and what is odd.
    dense
        Whether every pixel is meant to be labelled, so that the bare ones are ignored and not background.
    """

    images: list[AnnotatedImage]
    names: list[str] = field(default_factory=list)
    colours: list[Colour] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    dense: bool = False


_Kind = tuple[Literal["error", "warning"], str, str, str]  # level, code, message, fix


class Findings:
    """Collects what is odd about single records, so that a long list becomes one problem of each kind.

    Examples
    --------
    >>> findings = Findings()
    >>> findings.add("bad_shape", "shapes with fewer than 3 corners, left out", "a.json: shape 2")
    >>> [(p.code, p.message, p.files) for p in findings.problems()]
    [('bad_shape', 'shapes with fewer than 3 corners, left out: 1', ('a.json: shape 2',))]
    """

    def __init__(self) -> None:
        self._places: dict[_Kind, list[str]] = defaultdict(list)
        self._counts: Counter[_Kind] = Counter()

    def add(
        self,
        code: str,
        message: str,
        where: str,
        fix: str = "",
        level: Literal["error", "warning"] = "warning",
        count: int = 1,
    ) -> None:
        """Note one more record; ``where`` names file and record, equal messages are counted together."""
        kind = (level, code, message, fix)
        self._places[kind].append(where)
        self._counts[kind] += count

    def problems(self) -> list[Problem]:
        """One problem for each kind, with the places."""
        return [
            Problem(level, code, f"{message}: {self._counts[level, code, message, fix]}", fix, tuple(places))
            for (level, code, message, fix), places in self._places.items()
        ]


def finite(values: Any, where: str, at_least: int = 0) -> np.ndarray:
    """Flat float64 numbers, or DataError naming the place when there is something else among them.

    >>> finite([1, "2.5"], "a.json: shape 1").tolist()
    [1.0, 2.5]
    """
    try:
        numbers = np.asarray(values, np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where}: expected numbers, found {_short(values)}") from None
    if len(numbers) < at_least:
        raise DataError(f"{where}: expected at least {at_least} numbers, found {len(numbers)}")
    if not np.isfinite(numbers).all() or (len(numbers) and np.abs(numbers).max() > 1e7):
        raise DataError(f"{where}: a coordinate is not a number of pixels ({_short(values)})")
    return numbers


def whole(value: Any, where: str, low: int = 0, high: int = 2**31) -> int:
    """A whole number within limits, or DataError naming the place.

    >>> whole("12", "a.xml: image width")
    12
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (low <= number <= high and number == int(number)):
        raise DataError(f"{where}: expected a whole number from {low} to {high}, found {_short(value)}")
    return int(number)


def stated_size(height: Any, width: Any, where: str, findings: Findings) -> tuple[int, int]:
    """(height, width) as a file states them; zeros where it says nothing possible: then the image decides.

    >>> findings = Findings()
    >>> stated_size("3", 4, "a.json", findings), stated_size(-1, 4, "b.json", findings)
    ((3, 4), (0, 0))
    >>> findings.problems()[0].files
    ('b.json: 4 x -1',)
    """
    if height in (None, "") or width in (None, "") or str(height) == str(width) == "0":
        return 0, 0
    try:
        size = whole(height, where, low=1), whole(width, where, low=1)
    except DataError:
        size = 0, 0
    if not 0 < size[0] * size[1] <= MAX_PIXELS:
        message = "image sizes that cannot be right, so that the images decide"
        findings.add("bad_size", message, f"{where}: {_short(width)} x {_short(height)}")
        return 0, 0
    return size


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def to_dataset(
    document: Document,
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[Any, Any] | None = None,
    *,
    fill_rule: FillRule = "centre",
    name: str | None = None,
) -> Dataset[Sample]:
    """The samples of a document; masks are painted when they are touched, images read when they are.

    The classes are the caller's, else those of a class file in the root, else those that the format declares,
    else the sorted names of the shapes; the first wins. Pixels that nobody drew on belong to the class
    ``background`` (also ``_background_``). Where the caller or a class file gives a list without one they are
    ignored; where the classes come from the format it is put in front of them.

    Parameters
    ----------
    document
        What a reader made of the files.
    root
        The data's folder.
    labels
        The classes: a label map, names or a class file.
    mapping
        ``{old label: new label}``; the new label ``ignore`` makes its pixels ignored.
    fill_rule
        ``"centre"`` or ``"labelme"``, see :mod:`pixelwise.data.raster`.
    name
        What to call the data set; the folder's name by default.
    """
    if fill_rule not in FILL_RULES:
        raise unknown_name("fill rule", fill_rule, FILL_RULES)
    document = _renamed(document, {str(old): str(new) for old, new in (mapping or {}).items()})
    used = Counter(shape.label for image in document.images for shape in image.shapes)
    classes, background = _classes(document, root, labels, used)
    values = {label: _value(label, classes) for label in used}
    findings = Findings()
    for label, count in sorted(used.items()):
        if values[label] == classes.ignore and not is_void(label):
            message = f"shapes with the label '{label}', which is no class, so that their pixels are ignored"
            fix = f"add the class, or translate the label: --map {label}=CLASS"
            findings.add("unknown_label", message, label, fix, count=count)
    _note_missing(document, root, findings)
    splits = [image.split for image in document.images]
    return Dataset(
        document.images,
        partial(_open, labels=classes, values=values, background=background, rule=fill_rule),
        classes,
        name=name or root.resolve().name,
        splits=[split or "unsplit" for split in splits] if any(splits) else None,
        root=root,
        problems=(*document.problems, *findings.problems()),
    )


def _renamed(document: Document, names: Mapping[str, str]) -> Document:
    """The document with other labels, where there are any to change."""
    if not names:
        return document
    known = {shape.label for image in document.images for shape in image.shapes}.union(document.names)
    for stranger in sorted(names.keys() - known):
        raise unknown_name("label", stranger, known)

    def rename(image: AnnotatedImage) -> AnnotatedImage:
        return replace(image, shapes=[replace(s, label=names.get(s.label, s.label)) for s in image.shapes])

    declared = dict(zip(document.names, document.colours, strict=False))
    kept = list(dict.fromkeys(names.get(name, name) for name in document.names))
    colours = [declared[name] for name in kept] if all(name in declared for name in kept) else []
    return replace(document, images=[*map(rename, document.images)], names=kept, colours=colours)


def _classes(
    document: Document, root: Path, labels: Classes | None, used: Iterable[str]
) -> tuple[LabelMap, int]:
    """The classes, and the value of pixels that nobody drew on."""
    if labels is None and not document.names and root.is_dir():
        labels = find_class_file(root)
    if isinstance(labels, str | Path):
        labels = read_label_file(labels)[0]
    if labels is not None:
        classes = as_label_map(labels)
    else:
        declared = document.names or sorted(used)
        colours = dict(zip(declared, document.colours, strict=False))
        names = [name for name in declared if not is_void(name)]
        if not names:
            told = next((f" ({p.message}, {p.files[0]})" for p in document.problems if p.files), "")
            raise DataError(f"{root}: the annotations hold no shape and no class{told}; use --classes")
        if not document.dense and not any(name.lower() in BACKGROUND_NAMES for name in names):
            names = [BACKGROUND, *names]
        given = tuple(colours.get(name, (0, 0, 0)) for name in names)
        # Colours that do not tell the classes apart are no help to anybody.
        classes = LabelMap(tuple(names), given if len(set(given)) == len(names) else ())
    return classes, classes.ignore if document.dense else _background(classes)


def _background(classes: LabelMap) -> int:
    """The id of the class of what nobody drew on; the ignored id when there is none."""
    found = (i for i, name in enumerate(classes.names) if name.lower() in BACKGROUND_NAMES)
    return next(found, classes.ignore)


def _value(label: str, classes: LabelMap) -> int:
    if label in classes.names:
        return classes.index(label)
    return _background(classes) if label.lower() in BACKGROUND_NAMES else classes.ignore


def _note_missing(document: Document, root: Path, findings: Findings) -> None:
    """Images that are not there do no harm until their pixels are needed."""
    fix = "put the images into the folder of the annotations, under the names given there"
    for image in document.images:
        if image.path is None and image.embedded is None:
            where = f"{_relative(image.source, root)}: {image.name}"
            findings.add("missing_image", "annotated images that are not in the folder", where, fix)


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def _open(
    image: AnnotatedImage,
    labels: LabelMap,
    values: Mapping[str, int],
    background: int,
    rule: FillRule,
) -> Sample:
    meta: dict[str, Any] = {"split": image.split, "mask_path": image.source, "name": Path(image.name).stem}
    meta |= {"file_name": image.name} | ({"frame": image.frame} if image.frame is not None else {})
    if image.tags:
        meta["tags"] = image.tags
    return Sample(
        partial(read_pixels, image),
        partial(_mask, image, labels, values, background, rule),
        instances=partial(_instances, image, rule),
        shapes=image.shapes,
        path=image.path if image.frame is None else None,
        meta=meta,
    )


def read_pixels(image: AnnotatedImage) -> np.ndarray:
    """H×W×3 uint8 RGB of an annotated image, upright; DataError when it is not there."""
    if image.frame is not None and image.path is not None:
        return read_frame(image.path, image.frame)
    if image.path is not None:
        return read_image(image.path)
    if image.embedded is not None:
        return _decode(image)
    raise DataError(
        f"{image.source}: the image {image.name} is not in the folder; put it beside the annotations"
    )


def _decode(image: AnnotatedImage) -> np.ndarray:
    import io

    try:
        coded = image.embedded() if callable(image.embedded) else image.embedded
        with Image.open(io.BytesIO(coded or b"")) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{image.source}: the embedded image is damaged ({error})") from None


def size_of(image: AnnotatedImage) -> tuple[int, int]:
    """(height, width): as annotated, else of the image.

    Some tools write down the size of the file where people drew on the upright (EXIF-rotated) picture; then
    the picture decides.
    """
    annotated = (image.height, image.width)
    if all(annotated) and (image.path is None or image.frame is not None):
        return annotated
    if image.path is None or image.frame is not None:
        pixels = read_pixels(image)
        return pixels.shape[0], pixels.shape[1]
    actual = image_size(image.path)
    return annotated if all(annotated) and actual != annotated[::-1] else actual


def _mask(
    image: AnnotatedImage, labels: LabelMap, values: Mapping[str, int], background: int, rule: FillRule
) -> np.ndarray:
    mask = np.full(size_of(image), background, labels.dtype)
    paint(mask, image.shapes, [values[shape.label] for shape in image.shapes], rule)
    return mask


def _instances(image: AnnotatedImage, rule: FillRule) -> np.ndarray:
    instances = np.zeros(size_of(image), np.int32)
    paint(instances, image.shapes, instance_ids(image.shapes), rule)
    return instances


def instance_ids(shapes: Sequence[Shape]) -> list[int]:
    """The instance of each shape, from 1: tracks keep their number, groups of one label share theirs.

    Crowds are no instances and get 0.

    >>> from pixelwise.shapes import Box
    >>> box = Box(0, 0, 1, 1)
    >>> instance_ids([Shape("car", box, group=7), Shape("car", box), Shape("car", box, group=7)])
    [1, 2, 1]
    """
    next_id = max((shape.track for shape in shapes if shape.track is not None), default=-1) + 2
    known: dict[tuple[str, int], int] = {}
    ids = []
    for shape in shapes:
        key = (shape.label, shape.group) if shape.group is not None else None
        if shape.crowd:
            ids.append(0)
        elif shape.track is not None:
            ids.append(shape.track + 1)
        elif key in known:
            ids.append(known[key])
        else:
            if key is not None:
                known[key] = next_id
            ids.append(next_id)
            next_id += 1
    return ids
