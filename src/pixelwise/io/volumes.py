"""NIfTI volumes (.nii, .nii.gz): voxels, their place in space, and whatever else the header says.

Source: the NIfTI-1 and NIfTI-2 standards (nifti.nimh.nih.gov), read through nibabel, which is in the extra
``medical`` and imported only when a volume is touched.

Opening reads the header. Voxels are read when ``Volume.array`` is touched; those of an uncompressed file
without scaling are mapped into memory, so that a patch costs a patch. What was read is written again bit by
bit: the header travels in ``meta["header"]``, and stored integers with a scale factor find back to
themselves. Departure from nibabel: whole scale factors give integers (CT stays in whole Hounsfield units)
instead of float64.
"""

from __future__ import annotations

import gzip
import html
import math
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pixelwise.errors import DataError, MissingExtraError, UsageError
from pixelwise.io.atomic import atomic_write
from pixelwise.labels import LabelMap
from pixelwise.sample import Volume

VOLUME_SUFFIXES = (".nii", ".nii.gz")
"""File suffixes (lower case) that are taken for volumes."""

Window = tuple[float, float]
"""The intensities that become black and white."""

_STEPS = 65535  # of stored probabilities
_PLANES = 32  # of probabilities that are written at once

_COMPRESSION = 6  # gzip's default: 9 takes several times as long for one percent


class Slicing(NamedTuple):
    """How planes of a volume become images.

    ``axis`` is the one they lie across. Intensities of ``window`` become 0 to 255; None keeps the values.
    ``neighbours`` planes on either side are channels, too.
    """

    axis: int = 2
    window: Window | None = None
    neighbours: int = 0


def is_volume(path: str | Path) -> bool:
    """Whether a path has a volume's suffix and is not hidden.

    >>> is_volume("a/ct.nii.gz"), is_volume("ct.gz"), is_volume("a/.ct.nii")
    (True, False, False)
    """
    name = os.path.basename(path)
    return name.lower().endswith(VOLUME_SUFFIXES) and not name.startswith(".")


def volume_stem(path: str | Path) -> str:
    """A volume's file name without its suffix.

    >>> volume_stem("scans/ct_1.nii.gz")
    'ct_1'
    """
    name = Path(path).name
    suffix = next((s for s in sorted(VOLUME_SUFFIXES, key=len) if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]


def read_volume(
    path: str | Path, *, canonical: bool = False, channels: bool = False, like: str | Path | None = None
) -> Volume:
    """Open a NIfTI volume; its voxels are read when ``array`` is first touched.

    Parameters
    ----------
    path
        A ``.nii`` or ``.nii.gz`` file.
    canonical
        Flip and swap axes, values untouched, so that they run to the patient's right, front and head.
    channels
        Accept a fourth axis and take it for channels; a single one is dropped either way.
    like
        Another file whose orientation counts, with ``canonical``, in the place of this one's own: that of
        the image for a segmentation whose header went astray.

    Returns
    -------
    Volume
        ``array`` X×Y×Z (×C with ``channels``) in the file's type; scaled voxels become integers when the
        scale is whole, floats otherwise. ``meta["header"]`` is nibabel's header, ``meta["axes"]`` tells
        where the axes of ``array`` run to, such as ``"RAS"``.

    Raises
    ------
    DataError
        The file is missing, truncated, not NIfTI, has no real numbers for voxels, or has other axes than
        expected; or its orientation is undefined and ``canonical`` is asked for.
    MissingExtraError
        nibabel is not installed.
    """
    path = Path(path)
    image = _open(path, channels)
    turn = _turn(path, image, like) if canonical else None
    affine = np.array(image.affine, np.float64)
    if turn is not None:
        affine = affine @ _nibabel().orientations.inv_ornt_aff(turn, image.shape[:3])
    header = image.header.copy()
    header.set_slope_inter(image.dataobj.slope, image.dataobj.inter)  # nibabel forgets it on loading
    meta = {"header": header, "axes": _axes(affine)}
    return Volume(partial(_read_voxels, path, channels, turn), affine, path=path, meta=meta)


def volume_shape(path: str | Path, *, canonical: bool = False) -> tuple[int, int, int]:
    """(X, Y, Z) as :func:`read_volume` would give it, from the header alone, channels or not."""
    image = _open(Path(path), channels=True)
    sides = image.shape[:3]
    if canonical:
        turn = _orientation(path, image.affine)
        stored = sides
        sides = tuple(stored[int(np.flatnonzero(turn[:, 0] == axis)[0])] for axis in range(3))
    x, y, z = (int(side) for side in sides)
    return x, y, z


def read_slice(
    path: str | Path,
    index: int,
    axis: int = 2,
    *,
    canonical: bool = False,
    channels: bool = False,
    like: str | Path | None = None,
) -> np.ndarray:
    """One plane of a volume, equal to ``read_volume(path).array.take(index, axis)``.

    Of an uncompressed file only the plane is read. A compressed one has to be unpacked from its beginning,
    so the last two stay in memory: walk through the slices of one volume after the other, or unpack them.

    Parameters
    ----------
    path
        A ``.nii`` or ``.nii.gz`` file.
    index
        The plane's number.
    axis
        Across which axis it lies; with ``canonical``, one of the reoriented volume.
    canonical, channels, like
        As for :func:`read_volume`.

    Returns
    -------
    The two other axes of the volume in their order, then the channels if there are several.

    Raises
    ------
    DataError
        As :func:`read_volume`, or there is no such plane.
    """
    path = Path(path)
    image = _open(path, channels)
    turn = _turn(path, image, like) if canonical else None
    # From the axis asked for to the one that is stored, which may run the other way.
    stored_axis = axis if turn is None else int(np.flatnonzero(turn[:, 0] == axis)[0])
    count = image.shape[stored_axis]
    if not 0 <= index < count:
        raise DataError(f"{path}: there is no plane {index} across axis {axis}; it has {count}, from 0 on")
    stored_index = index if turn is None or turn[stored_axis, 1] > 0 else count - 1 - index
    where = tuple(stored_index if a == stored_axis else slice(None) for a in range(3))
    if path.suffix.lower() == ".gz":
        plane = _unpacked(path, os.stat(path).st_mtime_ns, channels)[where]
    else:
        plane = _guarded(path, lambda: _slice_of(image, where))
    if turn is None:
        return plane
    rest = np.array([row for a, row in enumerate(turn) if a != stored_axis])
    rest[:, 0] = np.argsort(np.argsort(rest[:, 0]))
    return np.asarray(_nibabel().apply_orientation(plane, rest))


def slice_image(
    plane_of: Callable[[int], np.ndarray], index: int, count: int, slicing: Slicing
) -> np.ndarray:
    """A plane of a volume as an image, the one way that training and prediction share.

    Rows run from the plane's second axis' end and columns along its first: an axial plane of a canonical
    volume has the patient's front at the top and left at the left.

    Parameters
    ----------
    plane_of
        Gives the plane of a number, A×B or A×B×C.
    index, count
        The plane's number, and how many there are.
    slicing
        The window and the neighbours.

    Returns
    -------
    B×A×C: uint8 with a window, else the values as they are. Channels are those of plane ``index - N``,
    ``index - N + 1`` and so on to ``index + N``; beyond the ends the last plane is repeated. With a window
    and neither channels nor neighbours, the grey is there three times.

    Examples
    --------
    >>> volume = np.arange(8).reshape(2, 2, 2)
    >>> slice_image(lambda z: volume[:, :, z], 0, 2, Slicing(neighbours=1)).tolist()
    [[[2, 2, 3], [6, 6, 7]], [[0, 0, 1], [4, 4, 5]]]
    """
    neighbours = slicing.neighbours
    numbers = np.arange(index - neighbours, index + neighbours + 1).clip(0, count - 1)
    planes = [as_picture(plane_of(int(number))) for number in numbers]
    image = np.dstack(planes)
    if slicing.window is None:
        return image
    low, high = slicing.window
    shares = (image.astype(np.float32) - low) * (255 / (high - low))
    image = np.rint(shares).clip(0, 255).astype(np.uint8)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def as_picture(plane: np.ndarray) -> np.ndarray:
    """A plane as one looks at it: its second axis upwards, its first to the right."""
    return np.ascontiguousarray(np.swapaxes(plane, 0, 1)[::-1])


def from_picture(picture: np.ndarray) -> np.ndarray:
    """The inverse of :func:`as_picture`."""
    return np.swapaxes(picture[::-1], 0, 1)


def canonical_view(array: np.ndarray, affine: np.ndarray, name: str | Path) -> np.ndarray:
    """Turn stored voxels so that axes run to the patient's right, front and head, copying none.

    What is written into the view is written into ``array``, so results go back to the stored grid.

    Parameters
    ----------
    array
        X×Y×Z (×C) voxels as they are stored.
    affine
        4×4, where they lie.
    name
        What to call the volume in an error.

    Raises
    ------
    DataError
        The affine is singular.
    """
    view: np.ndarray = _nibabel().apply_orientation(array, _orientation(name, affine))
    return view


def canonical_order(affine: np.ndarray, name: str | Path) -> tuple[int, int, int]:
    """The stored axes that become the first, second and third of :func:`canonical_view`."""
    first, second, third = (int(axis) for axis in np.argsort(_orientation(name, affine)[:, 0]))
    return first, second, third


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
    tables = [e for e in image.header.extensions if b"<CaretExtension" in _content(e)]
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


def label_table(path: str | Path) -> dict[int, str]:
    """The names of a segmentation's values that its header brings along, or nothing.

    Read from the table of labels of Connectome Workbench (a ``CaretExtension``), which TotalSegmentator and
    others write.

    Raises
    ------
    DataError
        The file is missing or not NIfTI.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    for extension in _open(Path(path)).header.extensions:
        text = _content(extension)
        if b"<CaretExtension" not in text:
            continue
        try:
            found = fromstring(text.strip(b"\0 \n")).iter("Label")
            return {int(label.get("Key", "")): (label.text or "").strip() for label in found}
        except (ParseError, DefusedXmlException, ValueError):
            continue  # an extension is an extra: a damaged one says nothing
    return {}


def _content(extension: Any) -> bytes:
    # nibabel 5.3 understands an extension before it gives it, and raises on those that it does not.
    content = extension.content if hasattr(extension, "content") else extension.get_content()
    return content if isinstance(content, bytes) else str(content).encode()


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
    return _nibabel().nifti1.Nifti1Extension("caret", text.encode())


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError:
        raise MissingExtraError("reading and writing NIfTI volumes", "medical") from None
    return nibabel


def _open(path: Path, channels: bool | None = None) -> Any:
    """The image with nothing but its header read; ``channels`` None accepts any number of axes."""
    image = _guarded(path, lambda: _nibabel().load(path))
    if not isinstance(image, _nibabel().Nifti1Pair):
        raise DataError(f"{path}: a {type(image).__name__}, expected NIfTI; convert it to .nii.gz")
    if image.get_data_dtype().kind not in "iuf":
        raise DataError(
            f"{path}: voxels of type {image.get_data_dtype()}, expected real numbers; convert the volume"
        )
    _check_length(path, image)
    axes = len(image.shape)
    single = axes == 4 and image.shape[3] == 1
    if channels is None or axes == 3 or (axes == 4 and channels) or single:
        return image
    found = "x".join(map(str, image.shape))
    if axes == 4 and not channels:
        raise DataError(
            f"{path}: 4-D, {found} voxels, expected 3-D; split it into one file per time or channel, "
            "or read it with channels=True"
        )
    raise DataError(f"{path}: {axes}-D, {found} voxels, expected 3-D; export the whole volume")


def _guarded(path: Path, action: Callable[[], Any]) -> Any:
    """Run what reads a file, and turn whatever goes wrong into one sentence."""
    nibabel = _nibabel()
    try:
        return action()
    except FileNotFoundError:
        raise DataError(f"{path}: no such volume") from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder, expected a NIfTI file") from None
    except (EOFError, zlib.error):
        raise DataError(f"{path}: the volume is truncated or damaged; copy or export it again") from None
    except (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        nibabel.wrapstruct.WrapStructError,
        OSError,
        ValueError,
    ) as error:
        said = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as NIfTI ({said}); copy or export it again") from None


def _check_length(path: Path, image: Any) -> None:
    """An uncompressed file tells by its size that its end is missing."""
    if path.suffix.lower() == ".gz":
        return
    needed = int(image.dataobj.offset) + math.prod(image.shape) * image.get_data_dtype().itemsize
    found = os.stat(path).st_size
    if found < needed:
        raise DataError(
            f"{path}: the volume is truncated, {found:,} bytes instead of {needed:,}; copy or export it again"
        )


def _read_voxels(path: Path, channels: bool, turn: np.ndarray | None) -> np.ndarray:
    image = _open(path, channels)
    voxels = _guarded(path, lambda: _scaled(image))
    if voxels.ndim == 4 and voxels.shape[3] == 1:
        voxels = voxels[..., 0]
    return voxels if turn is None else np.asarray(_nibabel().apply_orientation(voxels, turn))


def _scaled(image: Any) -> np.ndarray:
    """All voxels; a mapped array when the file has them as they are."""
    proxy = image.dataobj
    stored = np.asanyarray(proxy.get_unscaled())
    dtype = _value_type(image)
    if not _is_scaled(proxy):
        return stored if stored.dtype == dtype else stored.astype(dtype)
    values = np.empty(stored.shape, dtype)
    for index in range(stored.shape[-1]):  # plane by plane: float64 of a whole scan is four times its size
        values[..., index] = _rounded(stored[..., index] * float(proxy.slope) + float(proxy.inter), dtype)
    return values


def _slice_of(image: Any, where: tuple[int | slice, ...]) -> np.ndarray:
    if image.shape[3:] == (1,):
        where += (0,)
    return _rounded(np.asarray(image.dataobj[where]), _value_type(image))


@lru_cache(maxsize=2)
def _unpacked(path: Path, changed: int, channels: bool) -> np.ndarray:
    """The voxels of a compressed file; ``changed`` is its time, so that a newer one is read anew."""
    return _read_voxels(path, channels, turn=None)


def _is_scaled(proxy: Any) -> bool:
    return (proxy.slope, proxy.inter) != (1, 0)


def _value_type(image: Any) -> np.dtype:
    """What voxels become: the stored type in the machine's byte order, or one that holds scaled values."""
    stored, proxy = image.get_data_dtype().newbyteorder("="), image.dataobj
    if not _is_scaled(proxy):
        return stored
    slope, inter = float(proxy.slope), float(proxy.inter)
    if stored.kind == "f" or stored.itemsize > 2:
        return np.dtype(np.float64 if stored.itemsize > 2 and stored != np.float32 else np.float32)
    ends = [float(end) * slope + inter for end in (np.iinfo(stored).min, np.iinfo(stored).max)]
    if slope.is_integer() and inter.is_integer() and max(map(abs, ends)) < 2**31:
        fits = min(ends) >= -(2**15) and max(ends) < 2**15
        return np.dtype(np.int16 if fits else np.int32)
    return np.dtype(np.float32)


def _rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    whole = dtype.kind in "iu" and values.dtype.kind == "f"
    return (np.rint(values) if whole else values).astype(dtype)


def _orientation(path: str | Path, affine: np.ndarray) -> np.ndarray:
    """The 3×2 table of where the stored axes go to and whether they turn round."""
    linear = np.asarray(affine)[:3, :3]
    if not np.isfinite(linear).all() or abs(np.linalg.det(linear)) < 1e-12:
        raise DataError(
            f"{path}: the affine has no orientation (it is singular); mend the header, or read the voxels "
            "as they are stored with canonical=False"
        )
    return np.asarray(_nibabel().io_orientation(affine))


def _turn(path: Path, image: Any, like: str | Path | None) -> np.ndarray:
    if like is None:
        return _orientation(path, image.affine)
    return _orientation(like, _open(Path(like)).affine)


def _axes(affine: np.ndarray) -> str:
    return "".join(code or "?" for code in _nibabel().aff2axcodes(affine))


def _as_image(path: Path, volume: Volume) -> Any:
    nibabel = _nibabel()
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
    if not np.array_equal(_rounded(stored * slope + inter, array.dtype), array):
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
