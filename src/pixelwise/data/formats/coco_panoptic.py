"""COCO's panoptic format: a PNG of segment ids for each image, and JSON that says what each segment is.

Source: https://cocodataset.org/#format-data and https://arxiv.org/abs/1801.00868. The id of a pixel is
R + 256 G + 65536 B, and 0 is void, which is ignored here. The PNGs lie in a folder named as the JSON file,
or beside it as in Mapillary Vistas.

No PNG is opened before a mask is touched. A crowd has its class, but no instance; stuff has none either.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pixelwise.data.annotations import AnnotatedImage, Document, Findings, read_pixels, to_dataset, whole
from pixelwise.data.classes import Classes, complete_mapping
from pixelwise.data.formats.coco import COCO_LISTS, CocoLists, find_images, image_root, member_names
from pixelwise.data.locate import ImageFinder
from pixelwise.data.sniff import files_with
from pixelwise.errors import DataError, Problem
from pixelwise.io.images import open_image
from pixelwise.io.json_stream import read_members
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample


class Segment(NamedTuple):
    """One segment of a PNG."""

    id: int
    value: int
    instance: bool


class Record(NamedTuple):
    """An image with its PNG and what the segments in there are."""

    image: AnnotatedImage
    png: Path
    segments: tuple[Segment, ...]


def recognise(root: Path) -> bool:
    """Whether there is a panoptic JSON file; in a folder, one without COCO's instances beside it."""
    names = [path.name for path in _candidates(root)] if root.is_dir() else []
    instances = any(name.startswith("instances") for name in names)
    return not instances and any(is_panoptic(path) for path in _candidates(root))


def is_panoptic(path: Path) -> bool:
    """Whether a JSON file has COCO's lists with segments."""
    return {"images", "segments_info", "file_name"} <= member_names(path)


def _candidates(root: Path) -> list[Path]:
    """JSON files where panoptic ones use to be; a folder may hold thousands of others."""
    if root.is_file():
        return [root] if root.suffix.lower() == ".json" else []
    folders = [root, root / "annotations", root / "panoptic", *(root / split for split in ("train", "val"))]
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.json"))[:50]]


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    image_dir: str | Path | None = None,
) -> Dataset[Sample]:
    """The samples of one or several panoptic JSON files; opens no PNG.

    Touching a mask raises DataError where PNG and JSON do not have the same segments.

    Parameters
    ----------
    root
        A JSON file, or a folder of them.
    labels
        Other classes, joined by name.
    mapping
        ``{category id: class id}``, on top of the names.
    image_dir
        Where the images are, if not beside the annotations.

    Raises
    ------
    DataError
        No file is panoptic, or one cannot be read.
    """
    files = [root] if root.is_file() else [path for path in files_with(root, (".json",)) if is_panoptic(path)]
    if not files:
        raise DataError(f"{root}: no panoptic JSON file (with 'images' and 'segments_info')")
    folder, findings = root if root.is_dir() else root.parent, Findings()
    images, pngs = (
        ImageFinder(Path(image_dir).expanduser() if image_dir else image_root(root)),
        ImageFinder(folder),
    )
    document = Document([], dense=True)
    found = [_read_file(path, document, images, pngs, findings) for path in files]
    kept = [entry for entries in found for entry in entries]
    document.images = [image for image, _, _ in kept]
    document.problems += findings.problems()
    plain = to_dataset(document, folder, labels)
    complete_mapping(plain.labels, {}, mapping or {})  # refuses ids that are no classes
    known = {name: plain.labels.index(name) for name in document.names if name in plain.labels.names}
    strangers = tuple(sorted({s.label for _, _, segments in kept for s in segments} - known.keys()))
    if strangers:
        message, fix = "categories that are no classes, so that their pixels are ignored", "add the classes"
        plain.problems += (Problem("warning", "unknown_label", message, fix, strangers),)

    def value(segment: _Named) -> int:
        return (mapping or {}).get(segment.category, known.get(segment.label, plain.labels.ignore))

    records = [
        Record(
            image, png, tuple(Segment(segment.id, value(segment), segment.instance) for segment in segments)
        )
        for image, png, segments in kept
    ]
    splits = [image.split or "unsplit" for image in document.images]
    return Dataset(
        records,
        partial(_open, labels=plain.labels),
        plain.labels,
        name=plain.name,
        splits=splits if plain.splits else None,
        root=plain.root,
        problems=plain.problems,
    )


class _Named(NamedTuple):
    id: int
    category: int
    label: str
    instance: bool


_Entry = tuple[AnnotatedImage, Path, list[_Named]]


def _read_file(
    path: Path, document: Document, images: ImageFinder, pngs: ImageFinder, findings: Findings
) -> list[_Entry]:
    """The images that have a PNG; the classes go into the document."""
    lists = CocoLists(path.name, "category", findings)
    annotations: list[tuple[str, dict[str, Any]]] = []
    things: dict[str, bool] = {}
    for number, (key, record) in enumerate(read_members(path, COCO_LISTS), 1):
        if key not in COCO_LISTS:
            continue
        where = f"{path.name}: entry {number} ({key})"
        try:
            if not isinstance(record, dict):
                raise DataError(f"{where}: expected an object, found {type(record).__name__}")
            if key == "annotations":
                annotations.append((where, record))
            elif key == "images":
                lists.add_image(record, f"{path.name}: image {record.get('id')}", path)
            else:
                lists.add_category(record, where)
                things[str(record.get("id"))] = record.get("isthing", 1) in (1, True)
        except DataError as error:
            findings.add("bad_record", "records that cannot be read, left out", str(error))
    if not lists.images or not lists.classes:
        raise DataError(f"{path}: lists no images or no categories; export it again")
    for name, colour in lists.colours.items():
        if name not in document.names:
            document.names.append(name)
            document.colours += [colour] if colour else []
    if len(document.colours) != len(document.names):
        document.colours.clear()
    find_images([*lists.images.values()], path, images)
    entries: dict[str, _Entry] = {}
    for where, record in annotations:
        try:
            key = str(record.get("image_id"))
            if key in entries:
                raise DataError(f"{where}: a second annotation of image {key}")
            entries[key] = _entry(record, where, path, lists, things, pngs)
        except DataError as error:
            findings.add("bad_record", "records that cannot be read, left out", str(error), level="error")
    bare = [image.name for key, image in lists.images.items() if key not in entries]
    for name in bare:
        findings.add("unlabelled", "images without segments, left out", f"{path.name}: {name}")
    return [*entries.values()]


def _entry(
    record: Mapping[str, Any],
    where: str,
    path: Path,
    lists: CocoLists,
    things: Mapping[str, bool],
    pngs: ImageFinder,
) -> _Entry:
    image = lists.images.get(str(record.get("image_id")))
    if image is None:
        raise DataError(f"{where}: there is no image {record.get('image_id')} in the list")
    name, infos = record.get("file_name"), record.get("segments_info")
    if not isinstance(name, str) or not isinstance(infos, list):
        raise DataError(f"{where}: expected 'file_name' and a list 'segments_info'")
    own = path.with_suffix("")
    png = pngs.find(name, own if own.is_dir() else path.parent)
    if png is None:
        raise DataError(f"{where}: there is no PNG {name}; put the folder {own.name} beside {path.name}")
    return image, png, [_segment(info, where, lists, things) for info in infos]


def _segment(info: Any, where: str, lists: CocoLists, things: Mapping[str, bool]) -> _Named:
    if not isinstance(info, dict):
        raise DataError(f"{where}: a segment should be an object, found {str(info)[:40]}")
    number = whole(info.get("id"), f"{where}: id of a segment", low=1, high=2**24 - 1)
    category = str(info.get("category_id"))
    if not category.isdecimal() or category not in lists.classes:
        raise DataError(f"{where}: segment {number} is of category {category}, which is not in the list")
    crowd = info.get("iscrowd") in (1, True)
    return _Named(number, int(category), lists.classes[category], things.get(category, True) and not crowd)


def _open(record: Record, labels: LabelMap) -> Sample:
    image = record.image
    meta = {"split": image.split, "mask_path": record.png, "name": Path(image.name).stem}
    return Sample(
        partial(read_pixels, image),
        partial(_mask, record, labels),
        instances=partial(_instances, record),
        path=image.path,
        meta=meta | {"file_name": image.name},
    )


def _mask(record: Record, labels: LabelMap) -> np.ndarray:
    values = np.array([labels.ignore, *(segment.value for segment in record.segments)], labels.dtype)
    return values[_positions(record)]


def _instances(record: Record) -> np.ndarray:
    marks = np.array([0, *(segment.instance for segment in record.segments)], np.int32)
    return np.where(marks, np.cumsum(marks, dtype=np.int32), 0).astype(np.int32)[_positions(record)]


def _positions(record: Record) -> np.ndarray:
    """H×W: 0 for void, else the position of a pixel's segment from 1."""
    pixels = segment_ids(record.png)
    ids = np.array([0, *(segment.id for segment in record.segments)], np.uint32)
    order = np.argsort(ids, kind="stable")
    places = np.searchsorted(ids[order], pixels).clip(max=len(ids) - 1)
    known = ids[order][places] == pixels
    if not known.all():
        strange = int(pixels[~known][0])
        raise DataError(
            f"{record.png}: the PNG holds segment {strange}, which {record.image.source.name} does not list"
        )
    positions = order[places]
    present = np.bincount(positions.ravel(), minlength=len(ids)) > 0
    if not present[1:].all():
        absent = record.segments[int(np.flatnonzero(~present[1:])[0])].id
        raise DataError(
            f"{record.png}: {record.image.source.name} lists segment {absent}, which the PNG does not hold"
        )
    return positions


def segment_ids(path: Path) -> np.ndarray:
    """The segment ids of a panoptic PNG: H×W uint32.

    Raises
    ------
    DataError
        Missing, damaged, or no RGB or 8-bit grey picture.
    """
    with open_image(path) as picture:
        if picture.mode not in ("RGB", "RGBA", "L"):
            raise DataError(
                f"{path}: a panoptic PNG is an RGB picture, found mode {picture.mode}; export it again"
            )
        try:
            stored = np.asarray(picture, np.uint32)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{path}: the PNG is damaged ({error}); export it again") from None
    if stored.ndim == 2:
        return stored
    return stored[..., 0] | stored[..., 1] << 8 | stored[..., 2] << 16
