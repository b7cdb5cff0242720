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

import math
import os
import zlib
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pixelwise.errors import DataError, MissingExtraError
from pixelwise.sample import Volume

VOLUME_SUFFIXES = (".nii", ".nii.gz")
"""File suffixes (lower case) that are taken for volumes."""

Window = tuple[float, float]
"""The intensities that become black and white."""


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
        affine = affine @ import_nibabel().orientations.inv_ornt_aff(turn, image.shape[:3])
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
    return np.asarray(import_nibabel().apply_orientation(plane, rest))


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
    view: np.ndarray = import_nibabel().apply_orientation(array, _orientation(name, affine))
    return view


def canonical_order(affine: np.ndarray, name: str | Path) -> tuple[int, int, int]:
    """The stored axes that become the first, second and third of :func:`canonical_view`."""
    first, second, third = (int(axis) for axis in np.argsort(_orientation(name, affine)[:, 0]))
    return first, second, third


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
        text = extension_text(extension)
        if b"<CaretExtension" not in text:
            continue
        try:
            found = fromstring(text.strip(b"\0 \n")).iter("Label")
            return {int(label.get("Key", "")): (label.text or "").strip() for label in found}
        except (ParseError, DefusedXmlException, ValueError):
            continue  # an extension is an extra: a damaged one says nothing
    return {}


def extension_text(extension: Any) -> bytes:
    """The content of a NIfTI header's extension."""
    # nibabel 5.3 understands an extension before it gives it, and raises on those that it does not.
    content = extension.content if hasattr(extension, "content") else extension.get_content()
    return content if isinstance(content, bytes) else str(content).encode()


def import_nibabel() -> Any:
    """nibabel, or the error that tells how to install it."""
    try:
        import nibabel
    except ImportError:
        raise MissingExtraError("reading and writing NIfTI volumes", "medical") from None
    return nibabel


def _open(path: Path, channels: bool | None = None) -> Any:
    """The image with nothing but its header read; ``channels`` None accepts any number of axes."""
    image = _guarded(path, lambda: import_nibabel().load(path))
    if not isinstance(image, import_nibabel().Nifti1Pair):
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
    nibabel = import_nibabel()
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
    return voxels if turn is None else np.asarray(import_nibabel().apply_orientation(voxels, turn))


def _scaled(image: Any) -> np.ndarray:
    """All voxels; a mapped array when the file has them as they are."""
    proxy = image.dataobj
    stored = np.asanyarray(proxy.get_unscaled())
    dtype = _value_type(image)
    if not _is_scaled(proxy):
        return stored if stored.dtype == dtype else stored.astype(dtype)
    values = np.empty(stored.shape, dtype)
    for index in range(stored.shape[-1]):  # plane by plane: float64 of a whole scan is four times its size
        values[..., index] = rounded(stored[..., index] * float(proxy.slope) + float(proxy.inter), dtype)
    return values


def _slice_of(image: Any, where: tuple[int | slice, ...]) -> np.ndarray:
    if image.shape[3:] == (1,):
        where += (0,)
    return rounded(np.asarray(image.dataobj[where]), _value_type(image))


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


def rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Scaled values in the type that is asked for; to the nearest integer if that is one."""
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
    return np.asarray(import_nibabel().io_orientation(affine))


def _turn(path: Path, image: Any, like: str | Path | None) -> np.ndarray:
    if like is None:
        return _orientation(path, image.affine)
    return _orientation(like, _open(Path(like)).affine)


def _axes(affine: np.ndarray) -> str:
    return "".join(code or "?" for code in import_nibabel().aff2axcodes(affine))
