"""Series of DICOM files, one slice a file: found by their headers, read as one volume.

Source: the DICOM standard, PS3.3 C.7.6.2 (image plane) and C.11.1 (rescale), read through pydicom, which is
in the extra ``medical`` and imported only when a file has to be understood.

Slices are put in order by where they lie, never by number or file name. The distance between them is that of
their positions, because SliceThickness is how thick they are, not how far apart. Coordinates are turned from
DICOM's (left, back, head) to NIfTI's (right, front, head). The affine holds for tilted gantries, too, where
slices are shifted against each other evenly; dcm2niix may resample those, here no voxel is changed.

Refused, each with one sentence: multi-frame files, colour images, slices that are missing, doubled or
unevenly spaced, mixed sizes or orientations, and compressed pixels that no installed package decodes.
"""

from __future__ import annotations

import os
import re
import struct
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from pixelwise.errors import DataError, MissingExtraError, shape_text
from pixelwise.io.images import walk_files
from pixelwise.sample import Volume

_SUFFIXES = (".dcm", ".dicom", ".ima", "")
_NUMBER = re.compile(r"\.\d+")  # of a file that is called by its UID: 1.2.840.113619
_MARK_AT = 128  # bytes, after which "DICM" stands

# What is said of a file before it is read as a slice.
_FINDING_TAGS = ["SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "Rows"]

_SAME_PLACE = 0.01  # of the distance between slices; closer ones lie at one place
_UNEVEN = 0.02  # of that distance, and what rounding to two digits makes
_ROUNDING = 0.005  # mm
_ASIDE = 0.1  # of the smallest distance between voxels
_NOT_TURNED = 1e-3  # how much direction cosines may differ, which some scanners round to four digits


class Series(NamedTuple):
    """The files of one series in one folder.

    Attributes
    ----------
    folder
        Where they are.
    files
        Sorted by name.
    uid, number, description, modality
        What the headers say; ``number`` is None where they say nothing.
    target
        A path for what is made of it, below the folder that was searched and without suffix: the series'
        own folder, and below that number and description if it has company there.
    """

    folder: Path
    files: tuple[Path, ...]
    uid: str
    number: int | None
    description: str
    modality: str
    target: Path

    def text(self) -> str:
        """One line for people."""
        name = f"series {self.number if self.number is not None else self.uid}"
        return f"{name}{f' ({self.description})' if self.description else ''}, {len(self.files)} files"


class _Slice(NamedTuple):
    """What a header says of its plane; millimetres in DICOM's coordinates."""

    path: Path
    size: tuple[int, int]  # rows, columns
    position: np.ndarray
    orientation: np.ndarray  # 2×3: along a row, along a column
    spacing: tuple[float, float]  # between rows, between columns
    rescale: tuple[float, float]  # slope, intercept
    plain_bytes: bool  # pixels of 8 bits without a sign that are not rescaled
    syntax: Any


T = TypeVar("T")


def is_dicom_series(folder: str | Path) -> bool:
    """Whether a folder itself, not one below it, holds DICOM files, by the mark in their first bytes.

    Needs no pydicom, so that its absence can be told.
    """
    if not os.path.isdir(folder):
        return False
    with os.scandir(folder) as entries:  # the name first: it costs least, and most files are others
        return any(
            _may_be_dicom(Path(entry.name)) and entry.is_file() and _has_mark(Path(entry.path))
            for entry in entries
        )


def find_series(folder: str | Path) -> list[Series]:
    """The series of images in a folder and those below it, from a few tags of every header.

    Files without an image (reports, structure sets, DICOMDIR) belong to none.

    Raises
    ------
    DataError
        A DICOM file is damaged: without it a series would be short of a slice.
    MissingExtraError
        pydicom is not installed.
    """
    root = Path(folder)
    return [
        series
        for relative, names in walk_files(root)
        for series in _series_in(root, relative, [root / relative / name for name in names])
    ]


def read_series(source: str | Path | Series) -> Volume:
    """Open a series as a volume: headers are read now, pixels when ``array`` is touched.

    Parameters
    ----------
    source
        A series of :func:`find_series`, or a folder that holds one and no other.

    Returns
    -------
    Volume
        ``array`` is X×Y×Z, columns by rows by slices, in Hounsfield units where the rescale of the files
        gives them: uint8 if pixels are, int16 (int32 for larger values) if scales are whole, else float32.
        ``affine`` is in NIfTI's coordinates, ``meta["header"]`` a NIfTI header with a scanner's codes.

    Raises
    ------
    DataError
        There is no series, or several; or it is no stack of slices, as told at the top of the module.
    MissingExtraError
        pydicom or nibabel is not installed.
    """
    series = source if isinstance(source, Series) else _only_series(Path(source))
    slices = [_guarded(path, partial(_slice_of, path, _header(path))) for path in series.files]
    _check_alike(slices)
    slices, step = _in_order(series.folder, slices)
    _check_decoders(slices)
    affine = _affine(slices[0], step)
    name = series.target.name
    meta = {"name": name, "header": _nifti_header(affine), "series": series.uid, "modality": series.modality}
    return Volume(partial(_read_pixels, slices), affine, path=series.folder, meta=meta)


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError:
        raise MissingExtraError("reading DICOM", "medical") from None
    return pydicom


def _may_be_dicom(path: Path) -> bool:
    suffix = path.suffix.lower()
    return not path.name.startswith(".") and (suffix in _SUFFIXES or _NUMBER.fullmatch(suffix) is not None)


def _has_mark(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(_MARK_AT + 4)[_MARK_AT:] == b"DICM"
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def _dicom_files(paths: Sequence[Path]) -> list[Path]:
    """Those with the mark; where there are some, one that is only called DICOM may be a lost slice."""
    candidates = [path for path in paths if _may_be_dicom(path)]
    marked = [path for path in candidates if _has_mark(path)]
    lost = [path for path in candidates if path.suffix.lower() in (".dcm", ".dicom") and path not in marked]
    if marked and lost:
        raise DataError(f"{lost[0]}: not a DICOM file, or damaged; copy it again, or remove it")
    return marked


def _guarded(path: Path, action: Callable[[], T]) -> T:
    """Run what reads a file, and turn whatever goes wrong into one sentence."""
    try:
        return action()
    except (
        *(OSError, EOFError, struct.error, ValueError, TypeError, LookupError),
        *(AttributeError, NotImplementedError, RuntimeError, _pydicom().errors.InvalidDicomError),
    ) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as DICOM ({said}); copy or export it again") from None


def _series_in(root: Path, relative: str, paths: Sequence[Path]) -> list[Series]:
    """The series of one folder's files, by number."""
    groups: dict[str, list[Path]] = defaultdict(list)
    told: dict[str, tuple[int | None, str, str]] = {}
    for path in _dicom_files(paths):
        header = _header(path, _FINDING_TAGS)
        if _is_image(path, header):
            uid = str(header.get("SeriesInstanceUID", ""))
            groups[uid].append(path)
            told.setdefault(uid, _guarded(path, partial(_described, header)))
    found = [Series(root / relative, tuple(groups[uid]), uid, *told[uid], Path()) for uid in groups]
    found.sort(key=lambda series: (series.number is None, series.number or 0, series.uid))
    if len(found) == 1:
        return [found[0]._replace(target=Path(relative or root.resolve().name or "series"))]
    names = [_file_name(series) for series in found]
    for index, series in enumerate(found):
        alone = names.count(names[index]) == 1
        name = names[index] if alone else f"{names[index]}_{series.uid.rpartition('.')[2]}"
        found[index] = series._replace(target=Path(relative) / name)
    return found


def _is_image(path: Path, header: Any) -> bool:
    """Whether there are pixels; DataError when the file ends before it says so."""
    if "Rows" in header:
        return True
    kind = header.file_meta.get("MediaStorageSOPClassUID")
    if kind is None or "Image Storage" in _pydicom().uid.UID(str(kind)).name:
        raise DataError(f"{path}: an image without a size, the file is cut or emptied; export it again")
    return False


def _described(header: Any) -> tuple[int | None, str, str]:
    number = header.get("SeriesNumber")
    description, modality = (str(header.get(tag) or "") for tag in ("SeriesDescription", "Modality"))
    return None if number is None else int(number), description.strip(), modality


def _file_name(series: Series) -> str:
    """Number and description, of characters that every file system takes."""
    number = "series" if series.number is None else f"series_{series.number}"
    return "_".join([number, *re.findall(r"[\w-]+", series.description)])[:80]


def _only_series(folder: Path) -> Series:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; a DICOM series is named by the folder of its files")
    files = sorted(path for path in folder.iterdir() if _may_be_dicom(path) and path.is_file())
    found = _series_in(folder, "", files)
    if not found:
        raise DataError(f"{folder}: no DICOM image in this folder; expected one file per slice")
    if len(found) > 1:
        listed = "; ".join(series.text() for series in found)
        raise DataError(
            f"{folder}: {len(found)} series in one folder, expected one: {listed}; "
            "put each into a folder of its own, or read those of find_series()"
        )
    return found[0]


def _header(path: Path, tags: Sequence[str] | None = None) -> Any:
    read = _pydicom().dcmread
    return _guarded(path, partial(read, path, stop_before_pixels=True, specific_tags=tags))


def _slice_of(path: Path, header: Any) -> _Slice:
    """The plane of a header; DataError when it is none."""
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1 or "SharedFunctionalGroupsSequence" in header:
        raise DataError(
            f"{path}: a multi-frame file of {frames} images, expected one slice a file; "
            "convert it to NIfTI, for example with dcm2niix"
        )
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise DataError(f"{path}: a colour image, expected the grey values of a scanner; leave it out")
    for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        if not header.get(tag):
            raise DataError(
                f"{path}: no {tag}, so nobody knows where the slice lies; "
                "leave the file out, or export the original series"
            )
    orientation = np.array(header.ImageOrientationPatient, np.float64).reshape(2, 3)
    if not np.allclose(orientation @ orientation.T, np.eye(2), atol=5 * _NOT_TURNED):
        raise DataError(
            f"{path}: ImageOrientationPatient {header.ImageOrientationPatient} is not two perpendicular "
            "directions of length 1; export the series again"
        )
    rows, columns = (float(side) for side in header.PixelSpacing)
    position = np.array(header.ImagePositionPatient, np.float64)
    if not (position.shape == (3,) and np.isfinite(position).all() and 0 < rows < 1e6 and 0 < columns < 1e6):
        raise DataError(f"{path}: its position or PixelSpacing is no place; export the series again")
    slope, intercept = (header.get(f"Rescale{what}") for what in ("Slope", "Intercept"))
    rescale = float(1 if slope is None else slope), float(0 if intercept is None else intercept)
    stored = int(header.BitsStored), int(header.PixelRepresentation)
    plain_bytes = stored[0] <= 8 and stored[1] == 0 and rescale == (1.0, 0.0)
    size = int(header.Rows), int(header.Columns)
    syntax = header.file_meta.get("TransferSyntaxUID")
    return _Slice(path, size, position, orientation, (rows, columns), rescale, plain_bytes, syntax)


def _check_alike(slices: Sequence[_Slice]) -> None:
    """Raise DataError unless all planes are of one size and turned the same way."""
    first = slices[0]
    for other in slices[1:]:
        here, there = other.path, first.path.name
        if other.size != first.size:
            raise DataError(
                f"{here}: {shape_text(other.size[::-1])} pixels, but {shape_text(first.size[::-1])} in "
                f"{there} of the same series; keep slices of one size in a folder"
            )
        if not np.allclose(other.orientation, first.orientation, atol=_NOT_TURNED):
            raise DataError(
                f"{here}: turned another way than {there} of the same series (a localiser?); "
                "move one of them elsewhere"
            )
        if not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            raise DataError(
                f"{here}: pixels of {_millimetres(other.spacing)}, but {_millimetres(first.spacing)} in "
                f"{there} of the same series; keep slices of one scale in a folder"
            )


def _millimetres(spacing: Sequence[float]) -> str:
    """A spacing for messages, such as ``0.7x0.7 mm``."""
    return "x".join(f"{side:g}" for side in spacing) + " mm"


def _in_order(folder: Path, slices: list[_Slice]) -> tuple[list[_Slice], np.ndarray]:
    """Slices along their normal, and the step from one to the next (3 mm); DataError if it is not even."""
    normal = np.cross(*slices[0].orientation)
    slices = sorted(slices, key=lambda part: float(part.position @ normal))
    if len(slices) == 1:
        return slices, normal * _thickness(slices[0].path)
    gap = _usual_gap(folder, slices, [float(part.position @ normal) for part in slices])
    step = (slices[-1].position - slices[0].position) / (len(slices) - 1)
    for index, part in enumerate(slices):
        aside = float(np.linalg.norm(part.position - slices[0].position - index * step))
        if aside > _ASIDE * min(*part.spacing, gap) + _ROUNDING:
            raise DataError(
                f"{part.path}: lies {aside:.3g} mm off the line through the other slices, expected one "
                "straight stack; export the series again"
            )
    return slices, step


def _usual_gap(folder: Path, slices: Sequence[_Slice], places: Sequence[float]) -> float:
    """The millimetres between neighbours, which must be the same everywhere."""
    gaps = np.diff(places)
    apart = gaps[gaps > _SAME_PLACE * gaps.max()]
    gap = float(np.median(apart)) if len(apart) else 0.0
    doubled = np.flatnonzero(gaps <= _SAME_PLACE * gap)
    if len(doubled):
        one, other = slices[doubled[0]].path, slices[doubled[0] + 1].path.name
        raise DataError(
            f"{one} and {other} lie at the same place ({places[doubled[0]]:g} mm), one of {len(doubled)} "
            f"such pairs in {len(slices)} slices; split the series by time or echo, or remove copies"
        )
    for index in map(int, np.flatnonzero(np.abs(gaps - gap) > _UNEVEN * gap + _ROUNDING)):
        one, other = slices[index].path.name, slices[index + 1].path.name
        missing = round(gaps[index] / gap) - 1
        what = f"{missing} missing slice(s)" if missing > 0 else "slices at uneven distances"
        raise DataError(
            f"{folder}: {what} between {one} and {other}, which are {gaps[index]:.4g} mm apart where others "
            f"are {gap:.4g} mm; export the whole series, or resample it to even distances"
        )
    return gap


def _thickness(path: Path) -> float:
    """Millimetres from a lone slice to the next, which only its header can tell."""
    header = _header(path, ["SpacingBetweenSlices", "SliceThickness"])
    told = (header.get(tag) for tag in ("SpacingBetweenSlices", "SliceThickness"))
    return next((float(value) for value in told if value and float(value) > 0), 1.0)


def _affine(first: _Slice, step: np.ndarray) -> np.ndarray:
    along_row, along_column = first.orientation
    between_rows, between_columns = first.spacing
    affine = np.eye(4)
    affine[:3, 0] = along_row * between_columns
    affine[:3, 1] = along_column * between_rows
    affine[:3, 2] = step
    affine[:3, 3] = first.position
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _nifti_header(affine: np.ndarray) -> Any:
    try:
        import nibabel
    except ImportError:
        raise MissingExtraError("volumes of DICOM series", "medical") from None
    header = nibabel.Nifti1Header()
    header.set_data_shape((1, 1, 1))
    header.set_qform(affine, "scanner", strip_shears=True)
    header.set_sform(affine, "scanner")
    header.set_xyzt_units("mm")
    return header


def _check_decoders(slices: Sequence[_Slice]) -> None:
    """Raise DataError if the pixels of a slice are compressed in a way that nothing here understands."""
    from pydicom.pixels import get_decoder

    for part in {part.syntax: part for part in slices}.values():
        syntax = part.syntax
        if syntax is None:
            raise DataError(f"{part.path}: its header does not say how pixels are stored; export it again")
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError:
            raise DataError(
                f"{part.path}: its pixels are stored as {syntax.name}, which pydicom does not read; "
                "export the series uncompressed"
            ) from None
        if not decoder.is_available:
            raise DataError(
                f"{part.path}: its pixels are compressed as {syntax.name}, which needs another package "
                f"({'; or '.join(decoder.missing_dependencies)}); install one, or export uncompressed"
            )


def _read_pixels(slices: Sequence[_Slice]) -> np.ndarray:
    """X×Y×Z in the narrowest type that holds all values: what a header allows says little about them."""
    rows, columns = slices[0].size
    dtypes: list[type] = [np.uint8] if all(part.plain_bytes for part in slices) else [np.int16, np.int32]
    if not all(value.is_integer() for part in slices for value in part.rescale):
        dtypes = []
    voxels: np.ndarray = np.empty((columns, rows, len(slices)), (*dtypes, np.float32)[0], order="F")
    for index, part in enumerate(slices):
        plane = _guarded(part.path, partial(_rescaled, part))
        while dtypes and not _fits(plane, dtypes[0]):
            dtypes = dtypes[1:]
            voxels = voxels.astype((*dtypes, np.float32)[0])
        voxels[:, :, index] = plane.T
    return voxels


def _fits(values: np.ndarray, dtype: type) -> bool:
    ends = np.iinfo(dtype)
    return bool(ends.min <= values.min() and values.max() <= ends.max)


def _rescaled(part: _Slice) -> np.ndarray:
    """Rows by columns of one file."""
    pixels: np.ndarray = _pydicom().dcmread(part.path).pixel_array
    if pixels.shape != part.size:
        raise DataError(
            f"{part.path}: pixels of shape {shape_text(pixels.shape)}, but the header says "
            f"{shape_text(part.size)}; export it again"
        )
    slope, intercept = part.rescale
    return pixels if part.rescale == (1.0, 0.0) else pixels * slope + intercept
