"""PASCAL VOC: masks of classes and of objects, lists of splits, boxes in XML.

Source: the development kits of the VOC challenges 2007 to 2012 (host.robots.ox.ac.uk/pascal/VOC)::

    JPEGImages/x.jpg            SegmentationClass/x.png    SegmentationObject/x.png
    Annotations/x.xml           ImageSets/Segmentation/{train,val,trainval}.txt (else ImageSets/Main)
    labelmap.txt                (CVAT: name:r,g,b:parts:actions)

Where there are class masks they are the labels, object masks the instances; both are read when they are
touched. Masks are palette PNGs whose indices count, 255 is the void border; CVAT writes them in the colours
of ``labelmap.txt``. Where there are no masks, the boxes and outlines of the XML files are the labels
(:mod:`pixelwise.data.formats.vocxml`), also of files that lie beside their images, as LabelImg and Roboflow
write them.

Departures: images of any format, not of JPEG only; more than 254 objects in an image make their mask 16-bit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from pixelwise.data.adapt import Holds
from pixelwise.data.annotations import (
    BACKGROUND_NAMES,
    AnnotatedImage,
    Document,
    Findings,
    instance_ids,
    to_dataset,
)
from pixelwise.data.classes import Classes, find_class_file, resolve_classes
from pixelwise.data.datasets.catalogue import voc_colours
from pixelwise.data.formats import vocxml
from pixelwise.data.formats.folders import classes_below, declare, write_class_list
from pixelwise.data.pairing import SPLIT_NAMES, find_pairs
from pixelwise.data.raster import FillRule, paint
from pixelwise.data.sniff import files_with, first_files, text_head
from pixelwise.errors import DataError
from pixelwise.io import (
    IMAGE_SUFFIXES,
    atomic_write,
    mask_values,
    read_image,
    read_mask,
    walk_files,
    write_mask,
    write_text,
)
from pixelwise.io.documents import read_text
from pixelwise.io.labelfiles import is_void
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample

NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
"""The classes of the challenges by mask value."""

LABELS = LabelMap(NAMES, voc_colours(len(NAMES)))
"""The classes with the colours of the masks' palette."""

VOID_COLOUR = (224, 224, 192)
"""What the palette has for 255."""

HOLDS = Holds(
    kinds=frozenset({"polygon", "bitmap", "box", "ellipse", "polyline", "points"}),
    turned_boxes=True,
    turned_ellipses=True,
    holes=True,
    parts=True,
    groups=True,
    ignored=True,
    splits=True,
)
"""Every shape leaves its pixels and its instance; what was drawn on top of it is lost."""

_VOID = 255
_OBJECTS = LabelMap(tuple(map(str, range(_VOID))), voc_colours(_VOID))
"""Numbers as names, to translate object masks that come in colours."""

_MASKS = ("SegmentationClass", "SegmentationClassPNG", "SegmentationClassAug")
_FOLDERS = ("Annotations", "JPEGImages", "ImageSets", "SegmentationObject", *_MASKS)
_ORDER = {"train": 0, "val": 1, "test": 2, "trainval": 9}
_OWN_STEM = re.compile(r"(\d{4}_)?\d{6}")
_CLASS_LIST = re.compile(r".+_(train|val|trainval|test)")


class _Record(NamedTuple):
    """One image by its paths relative to the data folder."""

    image: str
    mask: str
    instances: str | None
    split: str | None


def recognise(root: Path) -> bool:
    """Whether a folder is laid out as VOC's, or XML files are VOC's.

    Plain folders of images and masks that only share the names of VOC's folders are left to ``masks``.
    """
    if root.is_file():
        return root.suffix.lower() == ".xml" and vocxml.is_annotation(root)
    if not root.is_dir():
        return False
    base = _base(root)
    if _mask_folder(base) is not None and (_has(base, "ImageSets", "SegmentationObject") or _is_cvat(base)):
        return True
    if not any(map(vocxml.is_annotation, first_files(base, [".xml"]))):
        return False
    return _has(base, *_FOLDERS) or not _paired(base)


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[Any, Any] | None = None,
    *,
    fill_rule: FillRule = "centre",
    first_pixel: int = 1,
) -> Dataset[Sample]:
    """Read VOC's masks, or its XML files where there are no masks.

    Parameters
    ----------
    root
        The folder with ``JPEGImages`` and the others, one above it, or an XML file.
    labels
        The classes. By default those of a class file; else VOC's own 21, where all values of the masks are
        among them; else, without masks, the sorted names of the objects.
    mapping
        ``{mask value: class id}``, or ``{label: new label}`` where there are no masks.
    fill_rule
        How outlines become pixels; see :mod:`pixelwise.data.raster`.
    first_pixel
        Whether coordinates in XML files count pixels from 1, as VOC does, or are corners from 0.

    Raises
    ------
    DataError
        There is neither a mask nor an XML file of this kind, or nobody says what the classes are.
    """
    if root.is_file():
        return to_dataset(_boxes(root, first_pixel), root.parent, labels, mapping, fill_rule=fill_rule)
    base = _base(root)
    folder = _mask_folder(base)
    if folder is not None:
        return _with_masks(base, folder, labels, mapping, root)
    name = root.resolve().name
    return to_dataset(_boxes(base, first_pixel), base, labels, mapping, fill_rule=fill_rule, name=name)


def _base(root: Path) -> Path:
    """The folder itself, or the only one in it: ``VOCdevkit/VOC2012``, and what archives unpack to."""
    for _ in range(3):
        inside = [path for path in sorted(root.iterdir()) if not path.name.startswith(".")]
        if len(inside) != 1 or not inside[0].is_dir():
            break
        if inside[0].name in _FOLDERS or inside[0].name.lower() in SPLIT_NAMES:
            break
        root = inside[0]
    return root


def _has(base: Path, *names: str) -> bool:
    return any((base / name).is_dir() for name in names)


def _paired(base: Path) -> bool:
    """Whether there are masks to learn from, which say more than boxes in XML files do."""
    try:
        return bool(find_pairs(base))
    except DataError:
        return False


def _mask_folder(base: Path) -> str | None:
    """The name of the first folder of class masks that has any."""
    return next(
        (name for name in _MASKS if _has(base, name) and first_files(base / name, IMAGE_SUFFIXES)), None
    )


def _is_cvat(base: Path) -> bool:
    """Whether CVAT's ``labelmap.txt`` is there."""
    return re.search(r"^[^#\n]+:\d+,\d+,\d+:.*:", text_head(base / "labelmap.txt"), re.MULTILINE) is not None


# Masks.


def _with_masks(
    base: Path, folder: str, labels: Classes | None, mapping: Mapping[Any, Any] | None, root: Path
) -> Dataset[Sample]:
    findings = Findings()
    images = _by_stem(base, "JPEGImages") or _by_stem(base, "images")
    masks = _by_stem(base, folder)
    masks = {stem: mask for stem, mask in masks.items() if not _accompanies(stem, masks, images)}
    classes, values = _classes(base, labels, mapping, masks, findings)
    objects = _by_stem(base, folder.replace("Class", "Object"))
    listed = _listed(base, masks, images, findings)
    if listed is None:
        listed = dict.fromkeys(masks)
        for stem, image in images.items():
            if stem not in masks:
                findings.add("unpaired_image", "images without a mask, left out", image, "add the masks")
    records = []
    for stem, split in listed.items():
        if stem not in images:
            fix = "put the images into JPEGImages, under the names of the masks"
            findings.add("missing_image", "masks whose image is not in the folder", masks[stem], fix)
        image = images.get(stem, f"JPEGImages/{stem}.jpg")
        records.append(_Record(image, masks[stem], objects.get(stem), split))
    if not records:
        raise DataError(f"{base}: the lists in ImageSets name none of the {len(masks)} masks in {folder}")
    return Dataset(
        records,
        partial(_open, base=base, labels=classes, mapping=values),
        classes,
        name=root.resolve().name,
        splits=[record.split or "unsplit" for record in records] if any(listed.values()) else None,
        root=base,
        problems=findings.problems(),
    )


def _by_stem(base: Path, folder: str) -> dict[str, str]:
    """Pictures by their name without suffix, relative to a folder; the path is relative to the base."""
    found: dict[str, str] = {}
    for parent, files in walk_files(base / folder) if _has(base, folder) else ():
        for file in files:
            name = f"{parent}/{file}" if parent else file
            if Path(file).suffix.lower() in IMAGE_SUFFIXES:
                found.setdefault(name[: -len(Path(file).suffix)], f"{folder}/{name}")
    return found


def _accompanies(stem: str, masks: Mapping[str, str], images: Mapping[str, str]) -> bool:
    """Whether a picture among the masks shows another one in colours, such as ``x_color`` beside ``x``."""
    of = re.sub(r"[_-][a-zA-Z]+$", "", stem)
    return of != stem and of in masks and of in images and stem not in images


def _classes(
    base: Path,
    labels: Classes | None,
    mapping: Mapping[Any, Any] | None,
    masks: Mapping[str, str],
    findings: Findings,
) -> tuple[LabelMap, dict[int, int]]:
    paths = [base / path for path in masks.values()]
    if labels is None and find_class_file(base) is None and _fits(paths[:5]):
        labels = LABELS
        if not all(_OWN_STEM.fullmatch(stem) for stem in masks):
            message = "masks without a class file, so that the 21 classes of PASCAL VOC are assumed"
            fix = "write classes.txt with one name a line, or pass --classes"
            findings.add("assumed_classes", message, base.name, fix, count=len(masks))
    return resolve_classes(base, labels, mapping, paths)


def _fits(paths: Iterable[Path]) -> bool:
    """Whether the first masks hold only what VOC's masks do."""
    try:
        values = {int(value) for path in paths for value in mask_values(read_mask(path, LABELS))}
    except DataError:
        return False
    return values <= {*range(len(LABELS)), _VOID}


def _listed(
    base: Path, masks: Mapping[str, str], images: Mapping[str, str], findings: Findings
) -> dict[str, str | None] | None:
    """The split of each stem that the lists name; None without lists."""
    lists = _lists(base, ("Segmentation", "Main"))
    if not lists:
        return None
    splits: dict[str, str | None] = {}
    for path, names in lists.items():
        where = str(path.relative_to(base))
        for name in names:
            stem = _known(name, masks)
            if stem is not None:
                splits.setdefault(stem, split_of(path))
            elif _known(name, images) is not None:
                findings.add("missing_mask", f"images of {where} without a mask, left out", name)
            else:
                findings.add("missing_listed", f"lines of {where} without an image and mask", name)
    for stem in masks.keys() - splits.keys():
        findings.add(
            "unlisted_image", "masks that no list names, left out", masks[stem], "add them to a list"
        )
    if set(splits.values()) == {"trainval"}:
        return dict.fromkeys(splits, "train")
    return splits


def _lists(base: Path, folders: tuple[str, str]) -> dict[Path, list[str]]:
    """What the list files of the first folder name that has any; lists of single classes are left away."""
    for folder in folders:
        paths = (base / "ImageSets" / folder).glob("*.txt")
        paths = (path for path in paths if not _CLASS_LIST.fullmatch(path.stem))
        in_order = sorted(paths, key=lambda path: (_ORDER.get(path.stem.lower(), 3), path.name))
        lists = {path: lines for path in in_order if (lines := _lines(path))}
        if lists:
            return lists
    return {}


def _lines(path: Path) -> list[str]:
    lines = (line.strip().strip('"').strip() for line in read_text(path).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def split_of(path: Path) -> str | None:
    """The split that a list file stands for; CVAT's ``default`` is none.

    ``trainval`` is asked last, so what it adds to the other lists is there to learn from.

    >>> split_of(Path("Validation.txt")), split_of(Path("trainval.txt")), split_of(Path("default.txt"))
    ('val', 'train', None)
    """
    stem = path.stem.lower()
    return {**SPLIT_NAMES, "trainval": "train", "default": None}.get(stem, path.stem)


def _known(line: str, stems: Mapping[str, str]) -> str | None:
    """The stem that a line means: itself, without suffix or folders, or its first word (``x -1``)."""
    bare = os.path.splitext(line)[0]
    candidates = (line, bare, line.split()[0], bare.replace("\\", "/").rsplit("/", 1)[-1])
    return next((name for name in candidates if name in stems), None)


def _open(record: _Record, base: Path, labels: LabelMap, mapping: Mapping[int, int]) -> Sample:
    image, mask = base / record.image, base / record.mask
    return Sample(
        partial(read_image, image),
        partial(read_mask, mask, labels, mapping),
        instances=partial(read_objects, base / record.instances) if record.instances else None,
        path=image,
        meta={"split": record.split, "mask_path": mask},
    )


def read_objects(path: Path) -> np.ndarray:
    """An object mask as H×W int32 numbers, 0 for void and where there is no object."""
    numbers = read_mask(path, _OBJECTS).astype(np.int32)
    numbers[numbers == _VOID] = 0
    return numbers


# XML files.


def _boxes(root: Path, first_pixel: int) -> Document:
    """What the XML files say, in folders of VOC with the splits of its lists."""
    findings = Findings()
    folder = root if root.is_dir() else root.parent
    paths = files_with(root / "Annotations" if _has(root, "Annotations") else root, (".xml",))
    images = vocxml.read_annotations(paths, folder, first_pixel, findings, single=root.is_file())
    if not images:
        found = next((place for problem in findings.problems() for place in problem.files), "")
        raise DataError(
            f"{root}: holds no mask and no XML file of VOC{f' ({found})' if found else ''}; expected "
            "SegmentationClass/ or Annotations/"
        )
    _split(folder, images, findings)
    if all(shape.kind == "box" for image in images for shape in image.shapes):
        fix = "draw outlines, or export masks, to learn the shapes of things"
        message = "images with nothing but boxes, whose masks are filled rectangles"
        findings.add("only_boxes", message, folder.name, fix, count=len(images))
    document = Document(images, problems=findings.problems())
    used = {shape.label for image in images for shape in image.shapes}
    labels = classes_below(folder, (image.source for image in images))
    if labels is None and find_class_file(folder) is None and used <= {*NAMES}:
        # People name a few of VOC's classes as VOC does; only its own images are sure to have all of them.
        own = all(_OWN_STEM.fullmatch(Path(image.name).stem) for image in images)
        labels = LABELS if own else None
    if labels is not None:
        declare(document, labels)
    return document


def _split(base: Path, images: list[AnnotatedImage], findings: Findings) -> None:
    """Give images the splits that the lists say; those in none keep that of their folder."""
    stems = {os.path.splitext(image.name)[0]: image.name for image in images}
    splits: dict[str, str] = {}
    for path, names in _lists(base, ("Main", "Segmentation")).items():
        for name in names:
            stem, split = _known(name, stems), split_of(path)
            if stem is None:
                message = f"lines of {path.relative_to(base)} without an annotation"
                findings.add("missing_listed", message, name)
            elif split is not None:
                splits.setdefault(stem, split)
    for image in images:
        image.split = splits.get(os.path.splitext(image.name)[0], image.split)


# Writing.


def tidy_name(name: str) -> str:
    """Images lie in one folder."""
    return name.replace("/", "_")


def image_path(image: AnnotatedImage) -> str:
    """``JPEGImages/<name>``."""
    return f"JPEGImages/{image.name}"


def save(document: Document, path: Path, labels: LabelMap) -> None:
    """Write masks of classes and objects, boxes, lists of the splits and ``labelmap.txt``."""
    lists: dict[str, list[str]] = {}
    for image in document.images:
        stem = Path(image.name).stem
        lists.setdefault(image.split or "default", []).append(stem)
        _save_image(image, stem, path, labels)
    for split, stems in lists.items():
        write_text(path / "ImageSets" / "Segmentation" / f"{split}.txt", "\n".join(stems) + "\n")
    rows = [(name, *colour) for name, colour in zip(labels.names, labels.colours, strict=True)]
    rows.append(("ignored", *VOID_COLOUR))
    lines = ["# label:color_rgb:parts:actions", *(f"{name}:{r},{g},{b}::" for name, r, g, b in rows)]
    write_class_list(path / "labelmap.txt", lines, labels)


def _save_image(image: AnnotatedImage, stem: str, path: Path, labels: LabelMap) -> None:
    background = next((i for i, n in enumerate(labels.names) if n.lower() in BACKGROUND_NAMES), labels.ignore)
    classes = np.full((image.height, image.width), background, labels.dtype)
    paint(classes, image.shapes, [_value(shape.label, labels, background) for shape in image.shapes])
    objects, names = _objects(image)
    if labels.dtype is np.uint8:
        palette = labels.palette()
        palette[labels.ignore] = VOID_COLOUR
        _write_indices(path / _MASKS[0] / f"{stem}.png", classes, palette)
    else:
        write_mask(path / _MASKS[0] / f"{stem}.png", classes, labels)
    _write_indices(path / "SegmentationObject" / f"{stem}.png", objects, np.array(voc_colours(256), np.uint8))
    tree = vocxml.annotation(image, "JPEGImages")
    vocxml.add(tree, "segmented", 1)
    for number, place in enumerate(ndimage.find_objects(objects), 1):
        if place is not None and number in names:
            rows, columns = place
            item = vocxml.add_object(tree, names[number])
            vocxml.add_box(item, columns.start, rows.start, columns.stop, rows.stop)
    write_text(path / "Annotations" / f"{stem}.xml", vocxml.xml_text(tree))


def _value(label: str, labels: LabelMap, background: int) -> int:
    if label in labels.names:
        return labels.names.index(label)
    return background if label.lower() in BACKGROUND_NAMES else labels.ignore


def _objects(image: AnnotatedImage) -> tuple[np.ndarray, dict[int, str]]:
    """H×W object numbers from 1 (255 void), and the label of each number."""
    numbers: dict[int, int] = {}
    names: dict[int, str] = {}
    values = []
    for shape, instance in zip(image.shapes, instance_ids(image.shapes), strict=True):
        if is_void(shape.label):
            values.append(_VOID)
        elif not instance or shape.label.lower() in BACKGROUND_NAMES:
            values.append(0)  # crowds are no objects
        else:
            number = numbers.setdefault(instance, len(numbers) + 1)
            number += number >= _VOID
            values.append(number)
            names.setdefault(number, shape.label)
    objects = np.zeros((image.height, image.width), np.int32)
    paint(objects, image.shapes, values)
    return objects, names


def _write_indices(path: Path, values: np.ndarray, palette: np.ndarray) -> None:
    """A palette PNG, or a 16-bit one where the values need it."""
    small = int(values.max(initial=0)) <= 255
    picture = Image.fromarray(values.astype(np.uint8 if small else np.uint16))
    if small:
        picture.putpalette(palette.tobytes())
    with atomic_write(path) as temporary:
        picture.save(temporary, compress_level=1)
