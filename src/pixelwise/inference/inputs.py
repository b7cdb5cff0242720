"""What a SOURCE names: images, videos, rasters and volumes, each with the place of its result."""

from __future__ import annotations

import glob as globbing
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Literal

from pixelwise.errors import DataError, UsageError
from pixelwise.io import is_image, walk_files
from pixelwise.io.dicom import Series, find_series, is_dicom_series
from pixelwise.io.remote import is_uri, list_images
from pixelwise.io.video import VIDEO_SUFFIXES
from pixelwise.io.volumes import is_volume, volume_stem

Kind = Literal["image", "video", "raster", "volume"]

RESULT_SUFFIX: dict[Kind, str] = {"image": ".png", "video": "", "raster": ".tif", "volume": ".nii.gz"}
"""How results are named; a video's is a folder of frames."""

_TIFF_SUFFIXES = frozenset({".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class Input:
    """One thing to label: a path, and where its result goes. Small, since a folder may have millions.

    Attributes
    ----------
    root
        The folder, or the URI, that results keep their paths below.
    name
        The path below it, with forward slashes.
    kind
        How it is labelled.
    series
        The files of a DICOM series, whose folder may hold several.
    """

    root: str
    name: str
    kind: Kind
    series: Series | None = None

    @property
    def is_remote(self) -> bool:
        """Whether it lies in an object store."""
        return is_uri(self.root)

    def __fspath__(self) -> str:
        return os.path.join(self.root, self.name) if self.series is None else str(self.series.folder)

    def __str__(self) -> str:
        return self.__fspath__()

    @property
    def path(self) -> Path:
        """Where it is: a file, or the folder of a DICOM series; not for those in an object store."""
        return Path(self)

    @property
    def target(self) -> str:
        """The result's path below the output folder, with forward slashes, without suffix."""
        name = Path(self.name)
        if self.kind == "volume":
            return self.name if self.series else name.with_name(volume_stem(name)).as_posix()
        return name.with_suffix("").as_posix()


def find_inputs(sources: Sequence[str | Path], out: str | Path) -> tuple[list[Input], list[str]]:
    """What several SOURCEs name, and the files of their folders that cannot be labelled.

    Parameters
    ----------
    sources
        Files, folders (searched with their sub-folders), patterns such as ``photos/**/*.jpg``, or URIs such
        as ``s3://bucket/photos``.
    out
        The output folder, or its URI.

    Raises
    ------
    DataError
        A source is not there, or has nothing to label.
    UsageError
        The output folder lies inside an input folder, two inputs would have the same result, or a result
        would overwrite an input.
    """
    inputs: list[Input] = []
    others: list[str] = []
    for source in sources:
        if is_uri(source):
            _refuse_inside(str(source), str(out))
            inputs += [Input(root, name, "image") for root, name in list_images(str(source), others)]
            continue
        found = _Found(str(source), out)
        inputs += found.inputs
        others += found.others
    return _without_collisions(inputs, out), others


class _Found:
    """The inputs of one source."""

    def __init__(self, source: str, out: str | Path) -> None:
        self.inputs: list[Input] = []
        self.others: list[str] = []
        path = Path(source)
        if path.is_dir():
            if not is_uri(out) and Path(out).resolve().is_relative_to(path.resolve()):
                raise UsageError(f"--out {out} lies inside the input folder {path}; choose one outside of it")
            self._search(path)
            return
        paths, root = ([path], path.parent) if path.exists() else _matches(source)
        for found in paths:
            if found.suffix.lower() == ".dcm":
                raise DataError(
                    f"{found}: one slice of a DICOM series; give the folder that holds the series"
                )
            self.inputs.append(Input(str(root), found.relative_to(root).as_posix(), _kind(found) or "image"))

    def _search(self, folder: Path) -> None:
        dicom = False
        for below, names in walk_files(folder):
            dicom = dicom or is_dicom_series(folder / below)
            for name in names:
                kind = _kind(folder / below / name)
                if kind is None:
                    self.others.append(str(folder / below / name))
                else:
                    self.inputs.append(Input(str(folder), Path(below, name).as_posix(), kind))
        if dicom:
            self._add_series(folder)
        if not self.inputs:
            raise DataError(
                f"{folder}: nothing to label in this folder; expected images (JPEG, PNG, TIFF, BMP, WebP), "
                "videos, NIfTI volumes or DICOM series"
            )
        self.inputs.sort(key=lambda found: found.name)

    def _add_series(self, folder: Path) -> None:
        slices: set[str] = set()
        for series in find_series(folder):
            self.inputs.append(Input(str(folder), series.target.as_posix(), "volume", series))
            slices.update(map(str, series.files))
        self.others = [file for file in self.others if file not in slices]


def _kind(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    if is_volume(path):
        return "volume"
    if suffix in VIDEO_SUFFIXES:
        return "video"
    if suffix in _TIFF_SUFFIXES:
        from pixelwise.io.rasters import is_raster  # only now: a photo should not wait for tifffile

        if is_raster(path):
            return "raster"
    return "image" if is_image(path) else None


def _matches(pattern: str) -> tuple[list[Path], Path]:
    """The files that a pattern matches, and its folder: the part before the first wildcard."""
    matches = [Path(match) for match in sorted(globbing.glob(pattern, recursive=True))]
    if not matches:
        raise DataError(f"{pattern}: no such file or folder, and no match as a pattern")
    return matches, Path(*takewhile(lambda part: not globbing.has_magic(part), Path(pattern).parts))


def _refuse_inside(source: str, out: str) -> None:
    if f"{out.rstrip('/')}/".startswith(f"{source.rstrip('/')}/"):
        raise UsageError(f"--out {out} lies inside the input folder {source}; choose one outside of it")


def _without_collisions(inputs: list[Input], out: str | Path) -> list[Input]:
    """The inputs, each once; UsageError if two have the same result, or if a result is an input."""
    taken: dict[str, Input] = {}
    for found in inputs:
        other = taken.setdefault(found.target, found)
        if str(other) != str(found):
            raise UsageError(
                f"{other} and {found} would both become {found.target}; predict them into different folders"
            )
    if is_uri(out):
        return list(taken.values())
    home = Path(out).resolve()
    roots = {found.root for found in inputs if not found.is_remote}
    beside = {root for root in roots if _share(Path(root).resolve(), home)}
    paths = {found.path.resolve() for found in inputs if found.root in beside}
    for found in inputs if paths else ():
        if (home / f"{found.target}{RESULT_SUFFIX[found.kind]}").resolve() in paths:
            raise UsageError(f"the result of {found} would overwrite an input in {out}; choose another --out")
    return list(taken.values())


def _share(folder: Path, other: Path) -> bool:
    return folder.is_relative_to(other) or other.is_relative_to(folder)
