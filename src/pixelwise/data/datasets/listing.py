"""What the readers of public data sets share: joining images and labels by key, and values by class name.

A public data set prescribes where every file lies, so a file that is missing can be named exactly, with the
place where it was expected. That is what sets these readers apart from :mod:`pixelwise.data.pairing`, which
has to guess.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pixelwise.data.classes import Classes, complete_mapping, find_class_file
from pixelwise.data.datasets.catalogue import PublicDataset
from pixelwise.errors import DataError, Problem, unknown_name
from pixelwise.io import UnknownValuesError, read_image, read_label_file
from pixelwise.labels import LabelMap, as_label_map
from pixelwise.sample import Dataset, Sample

MISSING = {
    "missing_image": "images of masks, left out",
    "missing_mask": "masks of images, left out",
    "missing_listed": "files that a list names",
}
"""Codes of the problems whose ``files`` are places where a file was expected, and what is missing."""

IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
"""Suffixes (lower case) of images in public data sets."""


class Record(NamedTuple):
    """Where one sample lies, relative to the data folder; without labels the mask is empty."""

    image: str
    mask: str
    split: str
    instances: str = ""


class Listing:
    """Collects the records of a data set, and exactly what is missing."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._odd: list[Problem] = []
        self._missing: dict[str, list[str]] = {code: [] for code in MISSING}

    def add(
        self,
        split: str,
        images: Mapping[str, str],
        masks: Mapping[str, str] | None,
        *,
        mask_at: str = "",
        image_at: str = "",
        instances: Mapping[str, str] | None = None,
    ) -> None:
        """Join images and masks by their keys.

        Parameters
        ----------
        split
            What the records belong to.
        images, masks
            Paths by key; ``masks=None`` stands for a split whose labels are held back.
        mask_at, image_at
            Where the mask or the image of a key is expected; ``{key}`` stands for the key.
        instances
            Paths of instance ids by key.
        """
        extra = instances or {}
        if masks is None:
            self.records += [Record(image, "", split) for _, image in sorted(images.items())]
            return
        both = sorted(images.keys() & masks.keys())
        self.records += [Record(images[key], masks[key], split, extra.get(key, "")) for key in both]
        self._missing["missing_mask"] += _places(mask_at, images.keys() - masks.keys())
        self._missing["missing_image"] += _places(image_at, masks.keys() - images.keys())

    def add_by(
        self,
        split_of: Callable[[str], str],
        splits: Iterable[str],
        images: Mapping[str, str],
        masks: Mapping[str, str],
        **more: Any,
    ) -> None:
        """The same where a rule gives the split of a key."""

        def part(paths: Mapping[str, str], split: str) -> dict[str, str]:
            return {key: path for key, path in paths.items() if split_of(key) == split}

        for split in splits:
            self.add(split, part(images, split), part(masks, split), **more)

    def lack(self, files: Iterable[str]) -> None:
        """Note files that a list names and that are not there."""
        self._missing["missing_listed"] += files

    def warn(self, code: str, message: str, fix: str, files: Sequence[str]) -> None:
        """Note what else is odd, when there are files that it concerns."""
        if files:
            self._odd.append(Problem("warning", code, f"{message}: {len(files)}", fix, tuple(files)))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is missing, with the places where it was expected, then what else is odd."""
        fix = "put the files where they are listed"
        missing = (
            Problem("warning", code, f"missing {what}: {len(files)}", fix, tuple(files))
            for (code, what), files in zip(MISSING.items(), self._missing.values(), strict=True)
            if files
        )
        return (*missing, *self._odd)

    def dataset(
        self, root: Path, info: PublicDataset, labels: LabelMap, opener: Callable[[Record], Sample]
    ) -> Dataset[Sample]:
        """The data set of all records, split by split.

        Raises
        ------
        DataError
            Not one sample is complete; the message says what was expected where.
        """
        if not root.is_dir():
            found = "a file" if root.exists() else "nothing"
            raise DataError(f"{root}: expected a folder with {info.title}, found {found} there")
        if not self.records:
            files = [file for problem in self.problems if problem.code in MISSING for file in problem.files]
            first = f"the first file missing is {files[0]}" if files else "no file of it is there"
            raise DataError(
                f"{root}: expected {info.title} as '{info.layout[0]}', and {first}; "
                f"'pixelwise datasets {info.name}' shows the layout"
            )
        order = {name: place for place, name in enumerate(info.splits)}
        records = sorted(self.records, key=lambda record: order.get(record.split, len(order)))
        split = any(record.split for record in records)
        return Dataset(
            records,
            opener,
            labels,
            name=info.title,
            splits=[record.split or "unsplit" for record in records] if split else None,
            root=root,
            problems=self.problems,
        )


def _places(template: str, keys: Iterable[str]) -> list[str]:
    return [template.replace("{key}", key) for key in sorted(keys)]


def open_sample(
    record: Record,
    root: Path,
    read_ids: Callable[[Path], np.ndarray],
    read_instances: Callable[[Path], np.ndarray] | None = None,
    read_pixels: Callable[[Path], np.ndarray] = read_image,
) -> Sample:
    """The sample of a record, its pixels still unread."""
    image, mask, instances = root / record.image, root / record.mask, root / record.instances
    meta: dict[str, Any] = {"split": record.split} | ({"mask_path": mask} if record.mask else {})
    return Sample(
        partial(read_pixels, image),
        partial(read_ids, mask) if record.mask else None,
        instances=partial(read_instances, instances) if read_instances and record.instances else None,
        path=image,
        meta=meta,
    )


def files_in(
    root: Path,
    folder: str,
    pattern: str = r"(.+)",
    suffixes: Sequence[str] = IMAGES,
) -> dict[str, str]:
    """Files of one folder by key, which is the first group of the pattern that their whole stem matches.

    A folder that is not there holds none. Hidden files are left out.
    """
    whole = re.compile(pattern)
    found: dict[str, str] = {}
    for name in _names(root / folder):
        stem, suffix = os.path.splitext(name)
        match = whole.fullmatch(stem) if suffix.lower() in suffixes else None
        if match:
            found.setdefault(match[1], f"{folder}/{name}" if folder else name)
    return found


def folders_in(root: Path, folder: str) -> list[str]:
    """Names of the folders in a folder, sorted; none when it is not there."""
    return [name for name in _names(root / folder) if (root / folder / name).is_dir()]


def _names(folder: Path) -> list[str]:
    """What lies in a folder, sorted, hidden names left out; nothing when it is not there."""
    # Plain names and no paths: a folder may hold 118,287 images.
    return sorted(name for name in os.listdir(folder) if name[0] != ".") if folder.is_dir() else []


def first_stem(root: Path, folder: str, suffixes: Sequence[str] = IMAGES) -> str:
    """The stem of a folder's first file of a kind, or an empty string: enough to recognise a layout."""
    names = map(os.path.splitext, _names(root / folder))
    return next((stem for stem, suffix in names if suffix.lower() in suffixes), "")


def inside(root: Path, *names: str) -> Iterator[Path]:
    """The folder itself, then those of its folders that have one of the names archives unpack to."""
    yield root
    yield from (root / name for name in names if (root / name).is_dir())


def says_otherwise(root: Path, *known: LabelMap, own_file: str = "") -> bool:
    """Whether a class file in the folder names other classes: then it is somebody's own data.

    ``own_file`` is a list of classes that the data set brings along in a form of its own.
    """
    path = find_class_file(root)
    if path is None or path.name == own_file:
        return False
    try:
        return read_label_file(path)[0].names not in {labels.names for labels in known}
    except DataError:  # the reader of plain masks says what is wrong with it
        return True


def join_classes(
    own: LabelMap,
    values: Mapping[int, int],
    labels: Classes | None,
    mapping: Mapping[int, int] | None,
) -> tuple[LabelMap, dict[int, int]]:
    """The classes to read, and the class id of every value that a mask may hold.

    Parameters
    ----------
    own, values
        The data set's classes, and the class ids of its mask values.
    labels
        Other classes, joined to the data set's BY NAME: what they do not name is ignored.
    mapping
        ``{mask value: class id}``, on top of that.

    Raises
    ------
    UsageError
        A class is neither one of the data set's nor the target of ``mapping``.

    Examples
    --------
    >>> own = LabelMap(("road", "car"))
    >>> join_classes(own, {7: 0, 26: 1, 4: 255}, ["car"], None)[1]
    {7: 255, 26: 0, 4: 255}
    """
    extra = mapping or {}
    if labels is None:
        return own, complete_mapping(own, values, extra)
    given = read_label_file(labels)[0] if isinstance(labels, str | Path) else as_label_map(labels)
    lost = [name for i, name in enumerate(given.names) if name not in own.names and i not in extra.values()]
    if lost:
        raise unknown_name("class", lost[0], own.names)
    table, _ = given.lookup_from(own)
    joined = {value: int(table[to]) for value, to in values.items()}
    return given, complete_mapping(given, joined, extra)


def translate(path: Path, values: np.ndarray, labels: LabelMap, table: Mapping[int, int]) -> np.ndarray:
    """H×W stored values (unsigned) as class ids of the labels' type.

    Raises
    ------
    UnknownValuesError
        The mask holds a value that the data set does not have.
    """
    lookup = np.full(max(*table, int(values.max(initial=0))) + 1, -1, np.int32)
    lookup[list(table)] = list(table.values())
    ids = lookup[values]
    if (ids < 0).any():
        raise UnknownValuesError(path, np.unique(values[ids < 0]).tolist())
    return ids.astype(labels.dtype)


def read_matlab(path: Path, key: str) -> np.ndarray:
    """The H×W unsigned integers that a MATLAB file holds under a name.

    Raises
    ------
    DataError
        The file is missing, damaged, or holds something else.
    """
    from scipy.io import loadmat  # takes as long to import as everything else here together

    try:
        content = loadmat(path, variable_names=[key])
    except FileNotFoundError:
        raise DataError(f"{path}: no such mask") from None
    except NotImplementedError:
        raise DataError(f"{path}: a MATLAB 7.3 file, expected version 7 or older; save it with -v7") from None
    except Exception as error:  # scipy raises whatever the damaged bytes lead to
        raise DataError(f"{path}: not a MATLAB file ({error}); unpack it again") from None
    if key not in content:
        raise DataError(f"{path}: holds no variable '{key}'; unpack the annotations again")
    array = content[key]
    whole = array.dtype.kind in "uib" or (array.dtype.kind == "f" and bool((array == np.round(array)).all()))
    if array.ndim != 2 or not whole or (array.size and not 0 <= array.min() <= array.max() <= 65535):
        raise DataError(f"{path}: '{key}' must be HxW ids, found {array.dtype} of shape {array.shape}")
    return array.astype(np.uint16)


def read_matlab_ids(path: Path, key: str, labels: LabelMap, table: Mapping[int, int]) -> np.ndarray:
    """The mask in a MATLAB file as H×W class ids."""
    return translate(path, read_matlab(path, key), labels, table)


def numbered_names(path: Path) -> dict[int, str]:
    """Class names by number from lines such as ``1: person``, or ``1 | person | ...`` of a table.

    Raises
    ------
    DataError
        The file is no text, or has no such line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: a list of classes must be UTF-8 text") from None
    rows = (re.match(r"\|?\s*(\d+)\s*[:|]\s*([^|]+)", line) for line in text.splitlines())
    names = {int(row[1]): row[2].strip() for row in rows if row}
    if not names:
        raise DataError(f"{path}: expected lines such as '1: person', found none")
    return names


def listed(path: Path) -> list[str]:
    """The first word of every line of a list file, without folders and suffix; empty lines left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: a list of images must be UTF-8 text") from None
    return [Path(line.split()[0].replace("\\", "/")).stem for line in lines if line.strip()]
