"""Writing NIfTI volumes: values, class ids with their names, probabilities; each whole or not at all.

The header travels along, see :mod:`pixelwise.io.volumes`.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.errors import UsageError
from pixelwise.io.atomic import atomic_write
from pixelwise.io.volumes import VOLUME_SUFFIXES, extension_text, import_nibabel, rounded
from pixelwise.labels import LabelMap
from pixelwise.sample import Volume

_STEPS = 65535  # of stored probabilities
_PLANES = 32  # of probabilities that are written at once

_COMPRESSION = 6  # gzip's default: 9 takes several times as long for one percent


def write_volume(path: str | Path, volume: Volume) -> None:
    """Write ``volume.array`` as NIfTI, atomically; ``.nii.gz`` is compressed, ``.nii`` is not.

    The array's type is the file's type, unless the volume was read from a file with a scale factor that
    gives exactly these values. Codes of the coordinate systems, units, description and extensions come from
    ``meta["header"]`` when it is there. To write a mask on its scan's grid, write
    ``dataclasses.replace(volume, array=volume.mask)``.

    Raises
    ------
    UsageError
        The suffix is not ``.nii`` or ``.nii.gz``, or NIfTI has no such type (float16).
    PixelwiseError
        The file cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    _write_image(path, _as_image(path, volume))


def write_labels(path: str | Path, volume: Volume, labels: LabelMap) -> None:
    """Write ``volume.mask`` as NIfTI on the grid of its volume, atomically.

    Affine, codes and units are those of the volume's file. The header also says that these are labels, and
    brings names and colours in the form that :func:`label_table` reads.

    Parameters
    ----------
    path
        ``.nii.gz`` or ``.nii``.
    volume
        With a mask of X×Y×Z class ids; K×X×Y×Z of 0 and 1 is written as X×Y×Z×K.
    labels
        The classes.

    Raises
    ------
    UsageError
        The suffix is not ``.nii`` or ``.nii.gz``.
    PixelwiseError
        The file cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    assert volume.mask is not None
    mask = volume.mask if volume.mask.ndim == 3 else np.moveaxis(volume.mask, 0, -1)
    image = _as_image(path, replace(volume, array=mask))
    image.header["cal_min"] = image.header["cal_max"] = 0
    image.header.set_intent("label")
    tables = [e for e in image.header.extensions if b"<CaretExtension" in extension_text(e)]
    for table in tables:  # of a volume that was a segmentation itself
        image.header.extensions.remove(table)
    image.header.extensions.append(_label_extension(labels))
    _write_image(path, image)


def write_probabilities(path: str | Path, volume: Volume, chances: np.ndarray) -> None:
    """Write probabilities as NIfTI on the grid of a volume, with the classes along a fourth axis; atomically.

    They are stored as 16-bit integers with a scale, so that readers see 0 to 1 in steps of 1/65535.

    Parameters
    ----------
    path
        ``.nii.gz`` or ``.nii``.
    volume
        The volume whose grid it is.
    chances
        K×X×Y×Z floats from 0 to 1; they may be mapped, and are read in parts.

    Raises
    ------
    UsageError
        The suffix is not ``.nii`` or ``.nii.gz``.
    PixelwiseError
        The file cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    meta = dict(volume.meta)
    if (given := meta.get("header")) is not None:
        meta["header"] = given.copy()
        meta["header"].set_slope_inter(1, 0)
    unread = np.broadcast_to(np.uint16(0), (*chances.shape[1:], len(chances)))  # takes no memory
    header = _as_image(path, replace(volume, array=unread, meta=meta)).header
    header["cal_min"], header["cal_max"] = 0, 1
    header.set_intent("none")
    header.set_slope_inter(1 / _STEPS, 0)
    with _writing(path) as file:
        header.write_to(file)
        file.write(bytes(header.get_data_offset() - file.tell()))
        for plane in chances:
            for start in range(0, plane.shape[2], _PLANES):
                part = np.rint(plane[:, :, start : start + _PLANES].astype(np.float32) * _STEPS)
                file.write(part.astype(header.get_data_dtype()).tobytes(order="F"))


def check_suffix(path: Path) -> None:
    """Raise UsageError unless volumes can be written under this name."""
    if not path.name.lower().endswith(VOLUME_SUFFIXES):
        raise UsageError(f"{path}: volumes are written as .nii or .nii.gz; choose one of these suffixes")


def _write_image(path: Path, image: Any) -> None:
    with _writing(path) as file:
        image.to_stream(file)


@contextmanager
def _writing(path: Path) -> Iterator[Any]:
    """A stream into a file that is there whole or not at all, compressed if its name says so."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if path.suffix.lower() == ".gz":
            # Neither name nor time in it: equal volumes give equal files.
            with gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as packed:
                yield packed
        else:
            yield file


def _label_extension(labels: LabelMap) -> Any:
    rows = []
    for index, (name, colour) in enumerate(zip(labels.names, labels.colours, strict=True)):
        red, green, blue = (f"{part / 255:.4g}" for part in colour)
        shown = f'Red="{red}" Green="{green}" Blue="{blue}" Alpha="1"'
        rows.append(f'<Label Key="{index}" {shown}>{html.escape(name)}</Label>')
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><CaretExtension><VolumeInformation Index="0"><LabelTable>'
        f"{''.join(rows)}</LabelTable><VolumeType>Label</VolumeType></VolumeInformation></CaretExtension>"
    )
    return import_nibabel().nifti1.Nifti1Extension("caret", text.encode())


def _as_image(path: Path, volume: Volume) -> Any:
    nibabel = import_nibabel()
    array = np.asarray(volume.array)
    array = array.astype(np.uint8) if array.dtype == bool else array
    given = volume.meta.get("header")
    known = isinstance(given, nibabel.Nifti1Header)
    header: Any = given.copy() if given is not None and known else nibabel.Nifti1Header()
    if known and header.get_data_shape() == (*array.shape, 1):
        array = array[..., None]
    try:
        stored, scale = _stored_values(array, header)
        if header.get_data_dtype() != stored.dtype.newbyteorder(header.endianness):
            header.set_data_dtype(stored.dtype)
            header["cal_min"] = header["cal_max"] = 0  # the range to display was of the other values
    except nibabel.spatialimages.HeaderDataError:
        raise UsageError(f"{path}: NIfTI has no {array.dtype} voxels; convert them to float32") from None
    kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    image = kind(stored, None, header)
    _place(image, np.asarray(volume.affine, np.float64), known)
    image.header.set_slope_inter(*scale)
    return image


def _stored_values(array: np.ndarray, header: Any) -> tuple[np.ndarray, tuple[float, float]]:
    """The array as the file had it, with its scale, if that gives these values exactly; else as it is."""
    slope, inter = header.get_slope_inter()
    dtype = header.get_data_dtype()
    as_it_is = array, (1.0, 0.0)
    if slope is None or (slope, inter) == (1, 0) or dtype.kind not in "iu":
        return as_it_is
    ends = np.iinfo(dtype)
    stored = np.rint((array.astype(np.float64) - inter) / slope)
    if stored.size and not (ends.min <= stored.min() and stored.max() <= ends.max):
        return as_it_is
    if not np.array_equal(rounded(stored * slope + inter, array.dtype), array):
        return as_it_is
    return stored.astype(dtype), (slope, inter)


def _place(image: Any, affine: np.ndarray, known: bool) -> None:
    """Put the affine into the header, both coordinate systems untouched when it is the one they give."""
    header = image.header
    if known and np.allclose(affine, header.get_best_affine()):
        return
    qform, sform = (int(header["qform_code"]), int(header["sform_code"])) if known else (0, 0)
    image.set_qform(affine, qform)
    image.set_sform(affine, sform or qform or "aligned")
    if not known:
        header.set_xyzt_units("mm")
