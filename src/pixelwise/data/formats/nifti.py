"""Folders of NIfTI volumes with a segmentation for each.

Understood are ``images/`` beside ``masks/`` (labels, segmentations, gt, ...), the Medical Segmentation
Decathlon and nnU-Net (``imagesTr``, ``labelsTr``, ``imagesTs``, ``dataset.json``), a folder per case (``ct``
and ``seg``), and ``x_seg.nii.gz`` beside ``x.nii.gz`` or ``x_ct.nii.gz``. Splits come from folder names.
The classes come from the caller, a class file, ``dataset.json``, or the table of labels that some tools
write into a segmentation's header.

Source of the layouts: Antonelli and others, "The Medical Segmentation Decathlon", Nature Communications
2022; nnU-Net's description of its format (github.com/MIC-DKFZ/nnUNet). The fourth axis of a scan is its
channels. Departures: of a case with several files the first is read, the others are reported;
``dataset.json`` is asked for names only.

A segmentation is laid over its image voxel by voxel: sizes must agree, and where its header puts it in space
does not count, because it is often wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from pixelwise.data.classes import Classes, complete_mapping, find_class_file, resolve_classes
from pixelwise.data.pairing import SPLIT_NAMES
from pixelwise.errors import DataError, Problem, UsageError
from pixelwise.io import walk_files
from pixelwise.io.volumes import (
    Slicing,
    Window,
    as_picture,
    is_volume,
    label_table,
    read_slice,
    read_volume,
    slice_image,
    volume_shape,
    volume_stem,
)
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample, Volume

_FOLDERS = {
    "image": re.compile(r"(?:images?|imgs?|volumes?|scans?|cts?|mrs?|inputs?)[_-]?(tr|ts|val)?"),
    "mask": re.compile(
        r"(?:masks?|labels?|segmentations?|segs?|annotations?|ann|gts?|ground_?truth|targets?)[_-]?(tr|ts|val)?"
    ),
}
_SHORT_SPLITS = {"tr": "train", "ts": "test", "val": "val"}
_MASK_STEM = re.compile(
    r"(^|[_.-])(segmentation|segm?|masks?|labels?|gt|ground_?truth|ann|annotation|target)$", re.IGNORECASE
)
_IMAGE_STEM = re.compile(
    r"(^|[_.-])(ct|mri?|images?|imaging|img|volume|vol|scan|t1|t1w|t2|t2w|flair|0000)$", re.IGNORECASE
)


class Case(NamedTuple):
    """One scan with its segmentation, relative to the data folder; without one, ``mask`` is empty."""

    image: str
    mask: str
    split: str


class Plane(NamedTuple):
    """One slice of a case: which of how many, and the millimetres from row to row and column to column."""

    case: Case
    number: int
    planes: int
    spacing: tuple[float, float]


class Opening(NamedTuple):
    """How the cases of a data set are opened.

    ``table`` gives the class id of every value in a segmentation. With ``by_name`` the names in a
    segmentation's own header come before it, and ``extra``, the caller's, before both. ``convert`` changes
    a scan's voxels.
    """

    root: Path
    labels: LabelMap
    table: Mapping[int, int]
    canonical: bool
    convert: Callable[[np.ndarray], np.ndarray] | None = None
    by_name: bool = False
    extra: Mapping[int, int] = MappingProxyType({})


class _File(NamedTuple):
    path: str
    role: str
    split: str
    place: str  # the folders that say neither role nor split
    stem: str


def recognise(root: Path) -> bool:
    """Whether a folder holds volumes, some of them the segmentations of others."""
    if not root.is_dir():
        return False
    images, masks = _tell_apart(_scan(root))
    return bool(_join(images, masks)[0])


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    as_slices: bool = False,
    window: Window | None = None,
    axis: int = 2,
    canonical: bool = True,
    neighbours: int = 0,
) -> Dataset[Any]:
    """Read a folder of volumes and segmentations; reads no voxel.

    Parameters
    ----------
    root
        The data folder.
    labels
        The classes; None looks for a class file, ``dataset.json``, and names in the first header. In the
        last case every segmentation is read by the names in its own header, as tools number organs
        differently.
    mapping
        ``{value in a segmentation: class id}``, on top of what the data says.
    as_slices
        Give every plane as a :class:`Sample` in the place of volumes; this reads the headers.
    window
        With ``as_slices``: intensities that become 0 and 255 of H×W×3 uint8. None keeps the values, as
        H×W×1. Scans of C channels (4-D files) give H×W×C either way.
    axis
        With ``as_slices``: across which axis they lie; 2 is axial when ``canonical``.
    canonical
        Flip and swap axes so that they run to the patient's right, front and head.
    neighbours
        With ``as_slices``: so many slices before and after each one are channels, too, from the lowest to
        the highest (2.5-D); 1 gives 3 channels, 2 gives 5. At the ends the last slice is repeated.

    Returns
    -------
    Dataset
        Volumes, or samples with their rows from the second axis' end and their columns along the first:
        an axial slice has the patient's front at the top and left at the left. ``meta`` of a sample has
        ``volume_path``, ``axis``, ``index`` and ``spacing`` (millimetres between rows, columns), and
        ``reading``, which a model that is trained on them remembers.

    Raises
    ------
    DataError
        No scan has a segmentation, or nobody says what the classes are.
    UsageError
        ``window`` is not a range, or given without ``as_slices``; there is no such axis; ``neighbours`` is
        negative, or given without ``as_slices``.
    """
    slicing = Slicing(axis, window, neighbours)
    check_slicing(as_slices, slicing)
    cases, problems = find_cases(root)
    opening = _opening(root, labels, mapping, cases)._replace(canonical=canonical)
    return dataset_of(cases, opening, root.resolve().name, problems, as_slices, slicing)


def find_cases(root: Path) -> tuple[list[Case], list[Problem]]:
    """The scans below a folder with their segmentations, in the order train, val, test and by path.

    Scans of a test split need no segmentation. What has no partner is told in the problems.
    """
    images, masks = _tell_apart(_scan(root))
    cases, lone_images, lone_masks = _join(images, masks)
    if not cases:
        found = f"{len(images) + len(masks)} volumes" if images or masks else "no volume (.nii, .nii.gz)"
        raise DataError(
            f"{root}: {found} and no scan with a segmentation; expected images/ and masks/ with equal file "
            "names, or x.nii.gz beside x_seg.nii.gz"
        )
    cases += [Case(file.path, "", "test") for file in lone_images if file.split == "test"]
    lone_images = [file for file in lone_images if file.split != "test"]
    problems = [
        *left_out("unpaired_image", "scans without a segmentation", (file.path for file in lone_images)),
        *left_out("unpaired_mask", "segmentations without a scan", (file.path for file in lone_masks)),
    ]
    order = {"train": 0, "val": 1, "test": 2}
    return sorted(cases, key=lambda case: (order.get(case.split, 3), case.image)), problems


def dataset_of(
    cases: Sequence[Case],
    opening: Opening,
    name: str,
    problems: Sequence[Problem],
    as_slices: bool,
    slicing: Slicing,
) -> Dataset[Any]:
    """A data set of volumes, or of their slices."""
    problems = list(problems)
    if as_slices:
        records: Sequence[Case | Plane] = _planes(cases, opening, slicing.axis, problems)
        opener: Callable[[Any], Any] = partial(open_plane, opening=opening, slicing=slicing)
    else:
        records, opener = cases, partial(open_volume, opening=opening)
    splits = [record.case.split if isinstance(record, Plane) else record.split for record in records]
    return Dataset(
        records,
        opener,
        opening.labels,
        name=name,
        splits=[split or "unsplit" for split in splits] if any(splits) else None,
        root=opening.root,
        problems=problems,
    )


def open_volume(case: Case, opening: Opening) -> Volume:
    """The volume of a case: its header is read, its voxels are not."""
    path = opening.root / case.image
    volume = read_volume(path, canonical=opening.canonical, channels=True)
    volume.meta |= {
        "name": volume_stem(path),
        "split": case.split or None,
        "reading": {"canonical": opening.canonical},
    }
    if opening.convert is not None:
        volume.array = partial(_converted, path, opening)
    if case.mask:
        volume.meta["mask_path"] = opening.root / case.mask
        volume.mask = partial(read_segmentation, opening.root / case.mask, path, opening)
    return volume


def read_segmentation(path: Path, image: Path, opening: Opening) -> np.ndarray:
    """A segmentation as X×Y×Z class ids, its axes turned as those of its scan.

    Raises
    ------
    DataError
        It cannot be read, differs from its scan in size, or holds a value that is no class.
    """
    check_size(path, image)
    values = read_volume(path, canonical=opening.canonical, like=image).array
    ids = np.empty(values.shape, opening.labels.dtype)
    table = _table_of(path, opening)
    for index in range(values.shape[2]):  # plane by plane, because looking ids up takes several bytes each
        ids[..., index] = _ids(path, values[..., index], opening.labels, table)
    return ids


def check_size(path: Path, image: Path) -> None:
    """Raise DataError unless a segmentation has as many voxels along each axis as its scan."""
    found, expected = volume_shape(path), volume_shape(image)
    if found != expected:
        raise DataError(
            f"{path}: the segmentation has {'x'.join(map(str, found))} voxels but its scan {image.name} "
            f"{'x'.join(map(str, expected))}; export both on one grid"
        )


def open_plane(plane: Plane, opening: Opening, slicing: Slicing) -> Sample:
    """The sample of a slice, its pixels still unread."""
    case, number, planes, spacing = plane
    axis = slicing.axis
    path = opening.root / case.image
    mask = partial(_mask_plane, opening.root / case.mask, path, number, axis, opening)
    return Sample(
        partial(_image_plane, path, number, planes, slicing, opening.canonical),
        mask if case.mask else None,
        meta={
            "name": f"{volume_stem(path)}_{number:04d}",
            "split": case.split or None,
            "volume_path": path,
            "axis": axis,
            "index": number,
            "spacing": spacing,
            "reading": {"canonical": opening.canonical, **slicing._asdict()},
        },
    )


def check_slicing(as_slices: bool, slicing: Slicing) -> None:
    """Raise UsageError when the options of slices contradict each other."""
    axis, window, neighbours = slicing
    if axis not in (0, 1, 2):
        raise UsageError(f"a volume has the axes 0, 1 and 2, found axis={axis}")
    if not isinstance(neighbours, int) or neighbours < 0:
        raise UsageError(f"neighbours is how many slices on either side are seen, found {neighbours}")
    if neighbours and not as_slices:
        raise UsageError("neighbours are for slices, volumes have them all; add as_slices=True or drop it")
    if window is None:
        return
    if not as_slices:
        raise UsageError("window is for slices, volumes keep their values; add as_slices=True or drop it")
    if len(window) != 2 or not window[0] < window[1]:
        raise UsageError(f"window is a range of intensities, low before high, found {window}")


def left_out(code: str, what: str, files: Iterable[str]) -> list[Problem]:
    """A warning about files that are left out, if there are any."""
    listed = tuple(files)
    message = f"{len(listed)} {what}, left out"
    return (
        [Problem("warning", code, message, "add the partner, or remove the file", listed)] if listed else []
    )


def _scan(root: Path) -> list[_File]:
    files = []
    for folder, names in walk_files(root):
        role, split, place = _meaning(folder)
        for name in filter(is_volume, names):
            path = f"{folder}/{name}" if folder else name
            files.append(_File(path, role, split, place, volume_stem(name)))
    return files


def _meaning(folder: str) -> tuple[str, str, str]:
    """What the folders above a file say about it: role, split and the rest.

    >>> _meaning("imagesTr"), _meaning("train/masks/site_1"), _meaning("case_7")
    (('image', 'train', ''), ('mask', 'train', 'site_1'), ('', '', 'case_7'))
    """
    role, split, rest = "", "", []
    for part in folder.split("/"):
        word = part.lower()
        matches = {kind: pattern.fullmatch(word) for kind, pattern in _FOLDERS.items()}
        kind = next((kind for kind, match in matches.items() if match), "")
        match = matches.get(kind)
        if match:
            role, split = kind, split or _SHORT_SPLITS.get(match[1] or "", "")
        elif word in SPLIT_NAMES:
            split = split or SPLIT_NAMES[word]
        elif part:
            rest.append(part)
    return role, split, "/".join(rest)


def _tell_apart(files: Sequence[_File]) -> tuple[list[_File], list[_File]]:
    """(images, masks): by their folders, and where these do not tell, by their names."""
    masks = [f for f in files if f.role == "mask" or (not f.role and _MASK_STEM.search(f.stem))]
    chosen = {file.path for file in masks}
    return [file for file in files if file.path not in chosen], masks


def _join(images: Sequence[_File], masks: Sequence[_File]) -> tuple[list[Case], list[_File], list[_File]]:
    """Cases, images left over and masks left over: equal stems first, then those without their suffixes."""
    cases: list[Case] = []
    for image_key, mask_key in ((_exact, _exact), (_exact, _bare_mask), (_bare_image, _bare_mask)):
        waiting: dict[tuple[str, ...], _File] = {}
        for file in masks:
            waiting.setdefault(mask_key(file), file)
        taken = set()
        for image in images:
            if mask := waiting.pop(image_key(image), None):
                cases.append(Case(image.path, mask.path, image.split))
                taken |= {image.path, mask.path}
        images = [file for file in images if file.path not in taken]
        masks = [file for file in masks if file.path not in taken]
    return cases, list(images), list(masks)


def _exact(file: _File) -> tuple[str, ...]:
    return file.split, file.place, file.stem


def _bare_mask(file: _File) -> tuple[str, ...]:
    return file.split, file.place, _MASK_STEM.sub("", file.stem)


def _bare_image(file: _File) -> tuple[str, ...]:
    return file.split, file.place, _IMAGE_STEM.sub("", file.stem)


def _opening(
    root: Path, labels: Classes | None, mapping: Mapping[int, int] | None, cases: Sequence[Case]
) -> Opening:
    """The classes, and how the values in segmentations become their ids."""
    mask = next(root / case.mask for case in cases if case.mask)
    by_name = False
    if labels is not None or find_class_file(root) is not None:
        labels, table = resolve_classes(root, labels, mapping, [])
    else:
        names = _names_in_json(root / "dataset.json")
        if not names:
            names, by_name = label_table(mask), True
        if not names:
            raise _question(root, mask)
        names = {0: "background"} | names
        labels = LabelMap(tuple(names[value] for value in sorted(names)))
        own = {value: position for position, value in enumerate(sorted(names))}
        table = complete_mapping(labels, own, mapping or {})
    table = table or {position: position for position in range(len(labels))}
    table = {labels.ignore: labels.ignore} | table
    return Opening(root, labels, table, canonical=True, by_name=by_name, extra=mapping or {})


def _table_of(path: Path, opening: Opening) -> Mapping[int, int]:
    """The class id of every value in one segmentation: tools number the same organs differently."""
    names = label_table(path) if opening.by_name else {}
    if not names:
        return opening.table
    known = {value: opening.labels.names.index(n) for value, n in names.items() if n in opening.labels.names}
    return {0: opening.table[0], opening.labels.ignore: opening.labels.ignore} | known | dict(opening.extra)


def _names_in_json(path: Path) -> dict[int, str]:
    """Names by value from ``dataset.json``, or nothing.

    The Decathlon writes ``{"1": "liver"}``, nnU-Net 2 ``{"liver": 1}``.
    """
    try:
        labels = json.loads(path.read_text(encoding="utf-8-sig"))["labels"]
        pairs = [(value, key) if isinstance(value, int) else (key, value) for key, value in labels.items()]
        return {int(value): str(name) for value, name in pairs}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or of another kind
        return {}


def _question(root: Path, mask: Path) -> DataError:
    values = np.unique(read_volume(mask).array)
    shown = ", ".join(f"{value:g}" for value in values[:20]) + (", ..." if len(values) > 20 else "")
    return DataError(
        f"{root}: what are the classes called? The first segmentation holds the values {shown}; "
        f"write {root / 'classes.txt'} with one name a line (the first line names value 0), or pass "
        "--classes name,name,..."
    )


def _planes(cases: Sequence[Case], opening: Opening, axis: int, problems: list[Problem]) -> list[Plane]:
    """The slices of all cases; a scan whose header cannot be read becomes a problem."""
    planes = []
    for case in cases:
        path = opening.root / case.image
        try:
            count = volume_shape(path, canonical=opening.canonical)[axis]
            columns, rows = (
                side
                for other, side in enumerate(
                    read_volume(path, canonical=opening.canonical, channels=True).spacing
                )
                if other != axis
            )
        except DataError as error:
            problems.append(
                Problem("error", "unreadable_volume", str(error), "copy the file again", (case.image,))
            )
            continue
        planes += [Plane(case, number, count, (rows, columns)) for number in range(count)]
    return planes


def _converted(path: Path, opening: Opening) -> np.ndarray:
    assert opening.convert is not None
    return opening.convert(read_volume(path, canonical=opening.canonical, channels=True).array)


def _ids(path: Path, values: np.ndarray, labels: LabelMap, table: Mapping[int, int]) -> np.ndarray:
    """Values of a segmentation (any shape) as class ids."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    whole = values.dtype.kind in "iu" or bool((values == np.rint(values)).all())
    if not whole or low < 0 or high > 65535:
        raise DataError(
            f"{path}: a segmentation holds class numbers from 0 on, found values from {low:g} to {high:g}; "
            "export it as integers"
        )
    lookup = np.full(max(*table, int(high)) + 1, -1, np.int32)
    lookup[list(table)] = list(table.values())
    ids = lookup[values.astype(np.uint16)]
    if (ids < 0).any():
        unknown = ", ".join(f"{value:g}" for value in np.unique(values[ids < 0])[:10])
        raise DataError(
            f"{path}: the segmentation holds the values {unknown}, which are none of the {len(labels)} "
            f"classes ({', '.join(labels.names[:5])}{', ...' if len(labels) > 5 else ''}); name them as "
            "classes, or map them to some"
        )
    return ids.astype(labels.dtype)


def _image_plane(path: Path, index: int, count: int, slicing: Slicing, canonical: bool) -> np.ndarray:
    def plane_of(number: int) -> np.ndarray:
        return read_slice(path, number, slicing.axis, canonical=canonical, channels=True)

    return slice_image(plane_of, index, count, slicing)


def _mask_plane(path: Path, image: Path, index: int, axis: int, opening: Opening) -> np.ndarray:
    check_size(path, image)
    values = read_slice(path, index, axis, canonical=opening.canonical, like=image)
    return as_picture(_ids(path, values, opening.labels, _table_of(path, opening)))
