"""The images of a benchmark: labelled data or plain images, as files that every engine is given alike."""

from __future__ import annotations

import glob as globbing
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.data import read
from pixelwise.errors import DataError, UsageError
from pixelwise.io import is_image, list_images, read_image, write_image
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample

Data = Dataset[Any] | str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Pictures:
    """Images that were chosen.

    Attributes
    ----------
    dataset
        Their samples.
    files
        The image file of each.
    warm_up
        One of these files for every size of image.
    labelled
        Whether the samples have masks.
    remarks
        What there is to say about the choice.
    """

    dataset: Dataset[Any]
    files: tuple[str, ...]
    warm_up: tuple[str, ...]
    labelled: bool
    remarks: list[str]


def open_images(data: Data, split: str | None) -> tuple[Dataset[Any], list[str]]:
    """The data set, or plain images as one without labels, and what there is to say about it."""
    if isinstance(data, Dataset):
        return data if split is None else data.select(split), []
    if not isinstance(data, str | Path):
        return _plain([Path(path) for path in data], "images", split), []
    path = Path(data)
    if path.is_dir():
        try:
            return read(path, split=split), []
        except DataError as error:
            files = list_images(path)
            if not files:
                raise
            return _plain(files, path.resolve().name, split), [f"measured without labels, because {error}"]
    if path.is_file() and is_image(path):
        return _plain([path], path.name, split), []
    if not path.exists():
        files = [Path(match) for match in sorted(globbing.glob(str(data), recursive=True))]
        files = [file for file in files if is_image(file)]
        if not files:
            raise DataError(f"{data}: no such file or folder, and no image matches it as a pattern")
        return _plain(files, path.name, split), []
    return read(path, split=split), []


def _plain(files: Sequence[Path], name: str, split: str | None) -> Dataset[Sample]:
    if split is not None:
        raise UsageError(f"{name}: plain images have no split '{split}'; leave the split away")
    return Dataset(list(dict.fromkeys(files)), _open_plain, LabelMap(("unknown",)), name=name)


def _open_plain(path: Path) -> Sample:
    return Sample(partial(read_image, path), path=path)


def choose_images(dataset: Dataset[Any], count: int, folder: Path, remarks: list[str]) -> Pictures:
    """Some of the images as files, labelled ones if there are any, spread evenly over the data."""
    if not len(dataset):
        raise DataError(f"{dataset.name}: holds no images")
    if not isinstance(dataset[0], Sample):
        raise UsageError(
            f"{dataset.name} holds {type(dataset[0]).__name__.lower()}s; benchmark measures models of images"
        )
    with_mask = [position for position, sample in enumerate(dataset) if sample.labelled]
    usable = with_mask or range(len(dataset))
    chosen = [usable[i] for i in np.linspace(0, len(usable) - 1, min(count, len(usable))).round().astype(int)]
    files: dict[int, str] = {}
    sizes: dict[tuple[int, ...], str] = {}
    unreadable: list[DataError] = []
    for position in chosen:
        try:
            sample = dataset[position]
            file = _as_file(sample, folder / f"{position:06d}.png", taken=files.values())
            sizes.setdefault(sample.size, file)
            files[position] = file
        except DataError as error:
            unreadable.append(error)
    if not files:
        raise DataError(f"{dataset.name}: none of {len(chosen)} images can be used ({unreadable[0]})")
    if unreadable:
        remarks = [*remarks, f"left out: {len(unreadable)} of {len(chosen)} images ({unreadable[0]}, ...)"]
    used = dataset.subset(list(files))
    return Pictures(used, tuple(files.values()), tuple(sizes.values()), bool(with_mask), remarks)


def _as_file(sample: Sample, copy: Path, taken: Collection[str]) -> str:
    """The sample's own file where that is just its picture and no other sample's, else a PNG of it."""
    image = sample.image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(
            f"{sample.path or sample.name}: expected an image of HxWx3 uint8, "
            f"found {image.dtype} of shape {image.shape}"
        )
    if sample.path is not None and is_image(sample.path):
        own = str(sample.path.resolve())
        if own not in taken and np.array_equal(read_image(own), image):
            return own
    write_image(copy, image)
    return str(copy)
