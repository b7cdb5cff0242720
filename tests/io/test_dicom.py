"""DICOM series: what is no stack of slices, then where voxels lie and what they are worth."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixelwise.errors import DataError, MissingExtraError
from pixelwise.io import dicom
from pixelwise.io.dicom import find_series, is_dicom_series, read_series
from pixelwise.io.volumes import read_volume
from pixelwise.io.volumes_write import write_volume

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("nibabel")

ROWS, COLUMNS, SLICES = 5, 7, 4
AXIAL = (1, 0, 0, 0, 1, 0)
UID = "1.2.826.0.1.3680043.8.498"


def stored(seed: int = 0, count: int = SLICES) -> np.ndarray:
    """Slices × rows × columns as the files hold them."""
    return np.random.default_rng(seed).integers(0, 4096, (count, ROWS, COLUMNS)).astype(np.uint16)


def save_slice(path: Path, pixels: np.ndarray, position: Sequence[float], **changes: Any) -> Path:
    """One CT slice; a change to None removes a tag."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = pydicom.Dataset()
    data.SOPClassUID = pydicom.uid.CTImageStorage
    data.SOPInstanceUID = f"{UID}.9.{abs(hash(str(path))) % 10**9}"
    data.SeriesInstanceUID, data.SeriesNumber, data.SeriesDescription = f"{UID}.1", 3, "Abdomen 2.5"
    data.Modality, data.InstanceNumber = "CT", 1
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.ImagePositionPatient = list(position)
    data.ImageOrientationPatient = list(AXIAL)
    data.PixelSpacing, data.SliceThickness = [0.5, 0.75], 9.0
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = pixels.tobytes()
    syntax = changes.pop("syntax", pydicom.uid.ExplicitVRLittleEndian)
    for name, value in changes.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def save_series(folder: Path, pixels: np.ndarray | None = None, **changes: Any) -> list[Path]:
    """Slices 2.5 mm apart towards the head, in files whose names and numbers run otherwise."""
    pixels = stored() if pixels is None else pixels
    return [
        save_slice(
            folder / f"{'cadb'[index % 4]}{index // 4}.dcm",
            plane,
            (-10, 20, 30 + 2.5 * index),
            **{"InstanceNumber": 99 - index} | changes,
        )
        for index, plane in enumerate(pixels)
    ]


def change(path: Path, **changes: Any) -> None:
    data = pydicom.dcmread(path)
    for name, value in changes.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.save_as(path)


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_series(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    assert is_dicom_series(tmp_path)
    with pytest.raises(MissingExtraError, match=r"pixelwise\[medical\]"):
        find_series(tmp_path)


def test_folders_without_a_series(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("nothing " * 99)
    (tmp_path / "odd.dcm").write_bytes(b"nothing " * 99)
    assert not is_dicom_series(tmp_path) and find_series(tmp_path) == []
    assert not is_dicom_series(tmp_path / "gone")
    with pytest.raises(DataError, match="no DICOM image in this folder"):
        read_series(tmp_path)
    with pytest.raises(DataError, match="gone: no such folder"):
        read_series(tmp_path / "gone")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"NumberOfFrames": 40}, "a multi-frame file of 40 images, .* dcm2niix"),
        ({"SamplesPerPixel": 3}, "a colour image"),
        ({"ImagePositionPatient": None}, "no ImagePositionPatient, so nobody knows where"),
        ({"ImageOrientationPatient": None}, "no ImageOrientationPatient"),
        ({"PixelSpacing": None}, "no PixelSpacing"),
        ({"PixelSpacing": [0, 1]}, "its position or PixelSpacing is no place"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, ".*not two perpendicular directions"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, r"turned another way than a0.dcm .*localiser"),
        ({"PixelSpacing": [0.6, 0.75]}, "pixels of 0.6x0.75 mm, but 0.5x0.75 mm in a0.dcm"),
        ({"Rows": 4}, "7x4 pixels, but 7x5 in a0.dcm"),
        ({"BitsStored": None}, "cannot be read as DICOM"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = save_series(tmp_path)[2]  # d0.dcm
    change(path, **changes)
    with pytest.raises(DataError, match=rf"d0\.dcm: {said}"):
        read_series(tmp_path)


def test_missing_doubled_and_uneven_slices(tmp_path: Path) -> None:
    paths = save_series(tmp_path, stored(count=6))
    shutil.copy(paths[3], tmp_path / "copy.dcm")
    with pytest.raises(DataError, match=r"b0\.dcm and copy\.dcm lie at the same place \(37\.5 mm\)"):
        read_series(tmp_path)
    (tmp_path / "copy.dcm").unlink()
    paths[3].unlink()
    with pytest.raises(
        DataError, match=r"1 missing slice\(s\) between d0\.dcm and c1\.dcm, which are 5 mm .* are 2\.5 mm"
    ):
        read_series(tmp_path)
    save_slice(paths[3], stored()[0], (-10, 20, 38.2))
    with pytest.raises(DataError, match=r"uneven distances between d0\.dcm and b0\.dcm.* 3\.2 mm"):
        read_series(tmp_path)
    save_slice(paths[3], stored()[0], (-9, 20, 37.5))
    with pytest.raises(DataError, match=r"b0\.dcm: lies 1 mm off the line"):
        read_series(tmp_path)


def test_all_slices_at_one_place(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save_slice(tmp_path / name, stored()[0], (0, 0, 0))
    with pytest.raises(DataError, match=r"a and b lie at the same place"):
        read_series(tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    paths = save_series(tmp_path)
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:200])
    with pytest.raises(DataError, match=r"a0\.dcm: "):
        read_series(tmp_path)
    paths[1].write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a0\.dcm: not a DICOM file, or damaged"):
        find_series(tmp_path)
    paths[1].write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"a0\.dcm: cannot be read as DICOM"):
        _ = read_series(tmp_path).array


def test_pixels_that_nothing_decodes_name_the_syntax_and_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Decoder:
        is_available = False
        missing_dependencies = ("pyjpegls - requires pyjpegls>=1.2",)

    monkeypatch.setattr("pydicom.pixels.get_decoder", lambda syntax: Decoder())
    save_series(tmp_path)
    with pytest.raises(DataError, match=r"compressed as Explicit VR Little Endian.*pyjpegls"):
        read_series(tmp_path)
    monkeypatch.undo()
    for path in tmp_path.iterdir():
        data = pydicom.dcmread(path)
        del data.PixelData
        data.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
        data.save_as(path)
    with pytest.raises(DataError, match=r"stored as MPEG2 .*, which pydicom does not read"):
        read_series(tmp_path)


def test_several_series_in_one_folder_are_named_and_found_apart(tmp_path: Path) -> None:
    save_series(tmp_path / "study")
    for index in range(2):
        save_slice(
            tmp_path / "study" / f"IM{index}",
            stored(1)[index],
            (0, 0, index),
            SeriesInstanceUID=f"{UID}.2",
            SeriesNumber=1,
            SeriesDescription="Scout / lateral",
        )
    save_series(tmp_path / "other" / "x", SeriesInstanceUID=f"{UID}.3")
    report = {"Rows": None, "PixelData": None, "SOPClassUID": pydicom.uid.BasicTextSRStorage}
    save_slice(tmp_path / "report.dcm", stored()[0], (0, 0, 0), **report)
    with pytest.raises(DataError, match=r"2 series .* series 1 \(Scout / lateral\), 2 files; series 3 \(Ab"):
        read_series(tmp_path / "study")
    found = find_series(tmp_path)
    assert [(series.target.as_posix(), len(series.files)) for series in found] == [
        ("other/x", 4),
        ("study/series_1_Scout_lateral", 2),
        ("study/series_3_Abdomen_2_5", 4),
    ]
    assert read_series(found[1]).array.shape == (COLUMNS, ROWS, 2)
    assert is_dicom_series(tmp_path / "study") and not is_dicom_series(tmp_path / "other")


def test_series_of_one_number_get_names_of_their_own(tmp_path: Path) -> None:
    for end in ("1", "2"):
        save_slice(tmp_path / end, stored()[0], (0, 0, 0), SeriesInstanceUID=f"{UID}.{end}")
    names = [series.target.name for series in find_series(tmp_path)]
    assert names == ["series_3_Abdomen_2_5_1", "series_3_Abdomen_2_5_2"]


def test_slices_are_ordered_by_place_and_are_hounsfield_units(tmp_path: Path) -> None:
    save_series(tmp_path / "ct")
    volume = read_series(tmp_path / "ct")
    assert volume.array.dtype == np.int16 and volume.array.shape == (COLUMNS, ROWS, SLICES)
    assert np.array_equal(volume.array, stored().transpose(2, 1, 0).astype(int) - 1024)
    assert volume.spacing == pytest.approx((0.75, 0.5, 2.5))  # not SliceThickness
    assert volume.meta["name"] == "ct" and volume.path == tmp_path / "ct"
    # The first pixel of the lowest slice is at LPS (-10, 20, 30); right and front are the other way in NIfTI.
    assert np.allclose(volume.affine @ (0, 0, 0, 1), (10, -20, 30, 1))
    assert np.allclose(volume.affine @ (2, 4, 1, 1), (10 - 2 * 0.75, -20 - 4 * 0.5, 32.5, 1))


def test_an_oblique_series_lies_where_its_header_says(tmp_path: Path) -> None:
    # Rows run along (0.6, 0.8, 0), columns along (0, 0, -1): the normal is (-0.8, 0.6, 0).
    row, column, normal = np.array([0.6, 0.8, 0]), np.array([0, 0, -1.0]), np.array([-0.8, 0.6, 0])
    pixels = np.zeros((SLICES, ROWS, COLUMNS), np.uint16)
    pixels[2, 3, 5] = 4000
    for index in range(SLICES):
        save_slice(
            tmp_path / f"1.2.{9 - index}",
            pixels[index],
            (np.array([1, 2, 3]) + 4 * index * normal).round(6).tolist(),
            ImageOrientationPatient=[*row, *column],
        )
    volume = read_series(tmp_path)
    marked = np.argwhere(volume.array == 4000 - 1024)
    assert marked.tolist() == [[5, 3, 2]]
    # By hand: (1, 2, 3) + 5 * 0.75 * row + 3 * 0.5 * column + 2 * 4 * normal
    by_hand = np.array([1 + 2.25 - 6.4, 2 + 3 + 4.8, 3 - 1.5])
    assert np.allclose((volume.affine @ (5, 3, 2, 1))[:3], by_hand * (-1, -1, 1))
    assert volume.spacing == pytest.approx((0.75, 0.5, 4))


def test_a_tilted_gantry_shears_the_affine(tmp_path: Path) -> None:
    for index in range(SLICES):
        save_slice(tmp_path / f"{index}.dcm", stored()[index], (0, 0.5 * index, 2 * index))
    volume = read_series(tmp_path)
    assert np.allclose(volume.affine[:3, 2], (0, -0.5, 2))
    write_volume(tmp_path / "tilted.nii.gz", volume)
    assert np.allclose(read_volume(tmp_path / "tilted.nii.gz").affine, volume.affine)


def test_a_written_series_has_the_codes_of_a_scanner(tmp_path: Path) -> None:
    save_series(tmp_path / "ct")
    volume = read_series(tmp_path / "ct")
    write_volume(tmp_path / "ct.nii.gz", volume)
    again = read_volume(tmp_path / "ct.nii.gz")
    assert np.array_equal(again.array, volume.array) and np.allclose(again.affine, volume.affine)
    header = again.meta["header"]
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
    assert header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize(
    ("changes", "dtype", "worth"),
    [
        ({"RescaleSlope": None, "RescaleIntercept": None}, np.int16, lambda x: x),
        ({"RescaleSlope": 0.5, "RescaleIntercept": 3}, np.float32, lambda x: x * 0.5 + 3),
        ({"BitsStored": 16, "HighBit": 15}, np.int16, lambda x: x - 1024),
        ({"RescaleSlope": 10}, np.int32, lambda x: x * 10 - 1024),
        ({"RescaleSlope": 1e7}, np.float32, lambda x: (x * 1e7 - 1024).astype(np.float32)),
    ],
)
def test_types_of_voxels(tmp_path: Path, changes: dict[str, Any], dtype: Any, worth: Any) -> None:
    save_series(tmp_path, **changes)
    array = read_series(tmp_path).array
    assert array.dtype == dtype
    assert np.array_equal(array, worth(stored().transpose(2, 1, 0).astype(float)))


def test_eight_bits_stay_eight_bits(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, ROWS, 8)).astype(np.uint8)
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "RescaleIntercept": 0}
    save_series(tmp_path, pixels, **eight)
    array = read_series(tmp_path).array
    assert array.dtype == np.uint8 and np.array_equal(array, pixels.transpose(2, 1, 0))


def test_each_slice_has_its_own_scale(tmp_path: Path) -> None:
    paths = save_series(tmp_path)
    for index, path in enumerate(paths):
        change(path, RescaleSlope=index + 0.5, RescaleIntercept=0)
    array = read_series(tmp_path).array
    assert np.allclose(array, stored().transpose(2, 1, 0) * (np.arange(SLICES) + 0.5))


def test_one_slice_takes_its_thickness_from_the_header(tmp_path: Path) -> None:
    save_slice(tmp_path / "a.dcm", stored()[0], (0, 0, 0))
    assert read_series(tmp_path).spacing == pytest.approx((0.75, 0.5, 9))
    assert dicom.read_series(tmp_path).array.shape == (COLUMNS, ROWS, 1)


def test_compressed_pixels_are_decoded(tmp_path: Path) -> None:
    paths = save_series(tmp_path)
    expected = read_series(tmp_path).array
    for path in paths:
        data = pydicom.dcmread(path)
        data.compress(pydicom.uid.RLELossless)
        data.save_as(path)
    assert np.array_equal(read_series(tmp_path).array, expected)


def test_opening_reads_no_pixel(tmp_path: Path) -> None:
    for path in save_series(tmp_path):
        change(path, PixelData=b"\0\0")
    assert read_series(tmp_path).spacing[2] == 2.5
