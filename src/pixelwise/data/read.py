"""Open a data folder, whatever layout it is in.

A reader is a module with two functions, and joins the table below with one line::

    def recognise(root: Path) -> bool
        # Whether `root` (a folder or a file) is of this kind; looks at names, not at pixels.
    def read(root: Path, labels=None, mapping=None) -> Dataset[Sample]
        # Its samples, unread; `labels` replaces the classes, `mapping` translates mask values to ids.

``recognise`` is asked in the order of the table, so that a layout which is a special case of another one
stands before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pixelwise.data.classes import Classes
from pixelwise.data.datasets import camvid
from pixelwise.data.formats import masks
from pixelwise.data.pairing import SPLIT_NAMES, find_pairs
from pixelwise.errors import DataError, UsageError, unknown_name
from pixelwise.io import list_images
from pixelwise.sample import Dataset, Sample


class Reader(Protocol):
    """What a module must have to be a reader."""

    def recognise(self, root: Path) -> bool:
        """Whether a folder or file is of this kind."""

    def read(
        self, root: Path, labels: Classes | None = None, mapping: Mapping[int, int] | None = None
    ) -> Dataset[Sample]:
        """Its samples, unread."""


READERS: dict[str, Reader] = {
    "camvid": camvid,
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
    mapping: Mapping[int, int] | None = None,
) -> Dataset[Sample]:
    """Open images with their labels; reads names only, pixels when a sample's are touched.

    Parameters
    ----------
    path
        A data folder.
    format
        One of :data:`FORMATS`, or ``"auto"`` to find out.
    split
        Only this split (``"train"``, ``"val"``, ``"test"``); None for all.
    labels
        The classes: a label map, names, or a class file. None takes them from the data.
    mapping
        ``{mask value: class id}`` on top of what the data says, such as ``{255: 1}`` for 0/255 masks.

    Returns
    -------
    Dataset
        Its ``problems`` list the files that had to be left out.

    Raises
    ------
    UsageError
        Unknown format or split; the message has those there are.
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
    reader = READERS[_recognise(path) if format == "auto" else format]
    data = reader.read(path, labels, mapping)
    return data if split is None else _select(data, split)


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


def _select(data: Dataset[Sample], split: str) -> Dataset[Sample]:
    split = SPLIT_NAMES.get(split.lower(), split)
    if not data.splits:
        raise UsageError(f"{data.root}: is not split, so there is no '{split}'; leave the split away")
    return data.select(split)
