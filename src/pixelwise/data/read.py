"""Open a data folder or an annotation file, whatever it is in.

A reader is a module with two functions, and joins the table below with one line::

    def recognise(root: Path) -> bool
        # Whether `root` (a folder or a file) is of this kind; looks at names, not at pixels.
    def read(root: Path, labels=None, mapping=None, *, <its own options>) -> Dataset
        # Its samples, unread; `labels` replaces the classes, `mapping` translates mask values to ids.

The formats of annotation tools have a ``load`` instead, which gives a document of shapes
(:mod:`pixelwise.data.formats`); all of them become data sets in one way.

``recognise`` is asked in the order of the table, so that a layout which is a special case of another one
stands before it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from pixelwise.data.annotations import to_dataset
from pixelwise.data.archives import unpacked
from pixelwise.data.arrange import rename_classes
from pixelwise.data.classes import Classes
from pixelwise.data.datasets import (
    ade20k,
    camvid,
    ccp,
    cityscapes,
    coco_stuff,
    inria,
    kitti,
    lits,
    mapillary,
    pascal_context,
    pratheepan,
    s3dis,
    s3dis_images,
)
from pixelwise.data.formats import SOURCES, Source, coco_panoptic, masks, nifti, voc
from pixelwise.data.pairing import SPLIT_NAMES, find_pairs
from pixelwise.errors import DataError, UsageError, unknown_name
from pixelwise.io import list_images, listed_once
from pixelwise.sample import Dataset


class Reader(Protocol):
    """What a module must have to be a reader."""

    @property
    def recognise(self) -> Callable[[Path], bool]:
        """Whether a folder or file is of this kind."""

    @property
    def read(self) -> Callable[..., Dataset[Any]]:
        """Its samples, unread."""


class _Annotations:
    """A format of annotation tools as a reader."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.recognise = source.recognise

    def read(
        self,
        root: Path,
        labels: Classes | None = None,
        mapping: Mapping[Any, Any] | None = None,
        *,
        fill_rule: Any = "centre",
        **options: Any,
    ) -> Dataset[Any]:
        """The samples of a document; see :func:`pixelwise.data.annotations.to_dataset`."""
        document = self.source.load(root, **options)
        folder = root if root.is_dir() else root.parent
        return to_dataset(document, folder, labels, mapping, fill_rule=fill_rule)


READERS: dict[str, Reader] = {
    "cityscapes": cityscapes,
    "kitti": kitti,
    "camvid": camvid,
    "pascal_context": pascal_context,
    "coco_stuff": coco_stuff,
    "ade20k": ade20k,
    "ccp": ccp,
    "pratheepan": pratheepan,
    "inria": inria,
    "mapillary": mapillary,
    "lits": lits,
    "s3dis": s3dis,
    "2d3ds": s3dis_images,
    "coco_panoptic": coco_panoptic,
    **{name: _Annotations(source) for name, source in SOURCES.items()},
    "nifti": nifti,
    "voc": voc,
    "masks": masks,
}
"""Every format by name, special cases before general ones."""

FORMATS: tuple[str, ...] = tuple(READERS)
"""The names that ``format`` may have, besides ``"auto"``."""


def read(
    path: str | Path,
    format: str = "auto",
    split: str | None = None,
    labels: Classes | None = None,
    mapping: Mapping[Any, Any] | None = None,
    **options: Any,
) -> Dataset[Any]:
    """Open images with their labels; reads names and shapes only, pixels when a sample's are touched.

    Parameters
    ----------
    path
        A data folder, an annotation file, or a ZIP of either.
    format
        One of :data:`FORMATS`, or ``"auto"`` to find out.
    split
        Only this split (``"train"``, ``"val"``, ``"test"``); None for all.
    labels
        The classes: a label map, names, or a class file. None takes them from the data.
    mapping
        ``{mask value: class id}`` on top of what the data says, such as ``{255: 1}`` for 0/255 masks, and
        ``{name: new name}`` to rename and merge classes; the new name ``ignore`` gives their pixels up.
    options
        What only some formats know, such as ``label_key`` of VIA or ``fill_rule`` of all annotation tools.

    Returns
    -------
    Dataset
        Its ``problems`` list the files that had to be left out.

    Raises
    ------
    UsageError
        Unknown format, option or split; the message has those there are.
    DataError
        The path is missing, empty or in no known layout, or nobody says what the classes are.

    Examples
    --------
    >>> import tempfile
    >>> from pixelwise.io import write_image, write_mask
    >>> from pixelwise.labels import LabelMap
    >>> import numpy as np
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_image(folder / "images" / "a.png", np.zeros((4, 6, 3), np.uint8))
    >>> write_mask(folder / "masks" / "a.png", np.ones((4, 6), np.uint8), LabelMap(("road", "car")))
    >>> data = read(folder, labels=["road", "car"])
    >>> len(data), data[0].name, data[0].mask.shape
    (1, 'a', (4, 6))
    """
    path = Path(path).expanduser()
    if format != "auto" and format not in READERS:
        raise unknown_name("format", format, ("auto", *READERS))
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.suffix.lower() == ".zip":
        path = unpacked(path)
    with listed_once():
        name = _recognise(path) if format == "auto" else format
        _check_options(name, options)
        values, names = _parts_of(mapping or {}, READERS[name])
        data = READERS[name].read(path, labels, values or None, **options)
    data = rename_classes(data, names) if names else data
    return data if split is None else _select(data, split)


def _parts_of(mapping: Mapping[Any, Any], reader: Reader) -> tuple[dict[Any, Any], dict[str, str]]:
    """What the reader itself translates, and the classes that get another name afterwards."""
    if isinstance(reader, _Annotations):
        return dict(mapping), {}
    names = {str(old): str(new) for old, new in mapping.items() if not isinstance(old, int)}
    values = {old: new for old, new in mapping.items() if isinstance(old, int)}
    for old, new in values.items():
        if not isinstance(new, int):
            raise UsageError(f"--map {old}={new}: a mask value becomes a class id, and '{new}' is a name")
    return values, names


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    reader = READERS[name]
    known = set(inspect.signature(reader.read).parameters)
    if isinstance(reader, _Annotations):
        known |= set(inspect.signature(reader.source.load).parameters)
    for option in options.keys() - known:
        raise unknown_name(
            f"option of the format {name}", option, known - {"root", "labels", "mapping", "options"}
        )


def _recognise(path: Path) -> str:
    found = next((name for name, reader in READERS.items() if reader.recognise(path)), None)
    return found if found else _fail(path)


def _fail(path: Path) -> str:
    """Say why no reader wants it; plain masks explain best what a folder of images lacks."""
    if path.is_dir() and list_images(path):
        find_pairs(path)
    if path.is_dir() and not any(path.iterdir()):
        raise DataError(f"{path}: the folder is empty; expected images with masks")
    kind = "folder holds no image" if path.is_dir() else "file is no data set"
    raise DataError(f"{path}: this {kind}; known formats: {', '.join(READERS)} (choose one with --format)")


def _select(data: Dataset[Any], split: str) -> Dataset[Any]:
    split = SPLIT_NAMES.get(split.lower(), split)
    if not data.splits:
        raise UsageError(f"{data.root}: is not split, so there is no '{split}'; leave the split away")
    return data.select(split)
