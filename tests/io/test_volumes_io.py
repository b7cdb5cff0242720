"""NIfTI: what goes wrong, what has to survive a round trip, and reading no more than is asked for."""

import gzip
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pixelwise.errors import DataError, UsageError
from pixelwise.io.volumes import is_volume, label_table, read_slice, read_volume, volume_shape
from pixelwise.io.volumes_write import write_volume
from pixelwise.sample import Volume

nibabel = pytest.importorskip("nibabel")

AFFINE = np.array([[-0.7, 0, 0, 90], [0, -0.7, 0, 80], [0, 0, 2.5, -300], [0, 0, 0, 1.0]])


def voxels(shape: tuple[int, ...] = (7, 6, 5), dtype: str = "int16") -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, shape).astype(dtype)


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, **scale: float) -> Path:
    image = nibabel.Nifti1Image(array, affine)
    if scale:
        image.header.set_slope_inter(scale["slope"], scale["inter"])
    nibabel.save(image, path)
    return path


def oriented(axes: tuple[int, int, int], signs: tuple[int, int, int]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (row, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[row, column] = sign * (column + 1)
    affine[:3, 3] = (10, 20, 30)
    return affine


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.nii: no such volume"):
        read_volume(tmp_path / "gone.nii")
    (tmp_path / "a.nii").mkdir()
    with pytest.raises(DataError, match=r"a\.nii: "):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["text.nii", "text.nii.gz", "empty.nii", "packed.nii.gz"])
def test_what_is_not_nifti_is_refused(tmp_path: Path, name: str) -> None:
    content = {"empty": b"", "packed": gzip.compress(b"no header" * 100)}.get(
        name.split(".")[0], b"word " * 99
    )
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: cannot be read as NIfTI .*again"):
        read_volume(tmp_path / name)


def test_another_format_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.MGHImage(voxels(dtype="int32"), np.eye(4)), tmp_path / "a.mgh")
    (tmp_path / "a.mgh").rename(path)
    with pytest.raises(DataError, match=r"a\.nii: .*NIfTI"):
        read_volume(path)


def test_a_truncated_file_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", voxels())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"a\.nii: the volume is truncated, 762 bytes instead of 772"):
        read_volume(path)


@pytest.mark.parametrize("read", [lambda p: read_volume(p).array, lambda p: read_slice(p, 4)])
def test_a_truncated_compressed_file_is_refused_when_it_is_read(tmp_path: Path, read) -> None:
    path = save(tmp_path / "a.nii.gz", voxels())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.nii\.gz: .*(truncated|read)"):
        read(path)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6, 2), (4, 5, 6, 1, 2)])
def test_other_than_three_axes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.nii", voxels(shape))
    with pytest.raises(DataError, match=f"{len(shape)}-D, {'x'.join(map(str, shape))} voxels, expected 3-D"):
        read_volume(path)


def test_a_fourth_axis_may_be_channels_or_single(tmp_path: Path) -> None:
    many = save(tmp_path / "many.nii", voxels((4, 5, 6, 2)))
    assert read_volume(many, channels=True).array.shape == (4, 5, 6, 2)
    assert volume_shape(many) == (4, 5, 6)
    assert np.array_equal(read_slice(many, 2, 0, channels=True), voxels((4, 5, 6, 2))[2])
    single = save(tmp_path / "single.nii", voxels((4, 5, 6, 1)))
    volume = read_volume(single)
    assert volume.array.shape == (4, 5, 6)
    assert np.array_equal(read_slice(single, 2), volume.array[:, :, 2])
    write_volume(tmp_path / "again.nii", volume)
    assert nibabel.load(tmp_path / "again.nii").shape == (4, 5, 6, 1)


def test_voxels_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    colours = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    path = save(tmp_path / "a.nii", colours)
    with pytest.raises(DataError, match="expected real numbers"):
        read_volume(path)


def test_a_singular_affine_has_no_orientation(tmp_path: Path) -> None:
    affine = AFFINE.copy()
    affine[:, 2] = 0
    image = nibabel.Nifti1Image(voxels(), None)
    image.header["sform_code"] = 1
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = affine[:3]
    nibabel.save(image, tmp_path / "a.nii")
    assert np.array_equal(read_volume(tmp_path / "a.nii").array, voxels())
    with pytest.raises(DataError, match="singular"):
        read_volume(tmp_path / "a.nii", canonical=True)


def test_voxels_wait_until_they_are_touched(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", voxels())
    volume = read_volume(path)
    assert np.allclose(volume.affine, AFFINE) and volume.spacing == pytest.approx((0.7, 0.7, 2.5))
    path.unlink()
    with pytest.raises(DataError, match="no such volume"):
        _ = volume.array


def test_an_uncompressed_file_is_mapped(tmp_path: Path) -> None:
    array = read_volume(save(tmp_path / "a.nii", voxels())).array
    assert isinstance(array, np.memmap) and np.array_equal(array, voxels())


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "int64", "float32", "float64"])
def test_a_round_trip_keeps_values_type_and_place(tmp_path: Path, suffix: str, dtype: str) -> None:
    array = np.abs(voxels()).astype(dtype)
    write_volume(tmp_path / f"a{suffix}", Volume(array, AFFINE))
    volume = read_volume(tmp_path / f"a{suffix}")
    assert volume.array.dtype == dtype and np.array_equal(volume.array, array)
    assert np.allclose(volume.affine, AFFINE)


def test_a_round_trip_keeps_what_else_the_header_says(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), None)
    image.set_qform(AFFINE, "scanner")
    moved = AFFINE.copy()
    moved[0, 3] += 5
    image.set_sform(moved, "talairach")
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"], image.header["cal_max"] = b"made up", 400
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"kept"))
    nibabel.save(image, tmp_path / "a.nii.gz")
    write_volume(tmp_path / "b.nii.gz", read_volume(tmp_path / "a.nii.gz"))
    one, two = (nibabel.load(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz"))
    assert one.header.binaryblock == two.header.binaryblock
    assert two.header.extensions[0].get_content() == one.header.extensions[0].get_content()
    assert np.array_equal(one.affine, moved.astype(np.float32)) and np.array_equal(one.affine, two.affine)
    assert np.allclose(two.get_qform(), AFFINE, atol=1e-4)


def test_big_endian_files_and_nifti2_stay_what_they_are(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(voxels(), AFFINE, header), tmp_path / "big.nii")
    nibabel.save(nibabel.Nifti2Image(voxels(), AFFINE), tmp_path / "two.nii")
    for name in ("big.nii", "two.nii"):
        volume = read_volume(tmp_path / name)
        assert volume.array.dtype == np.int16 and volume.array.dtype.isnative
        write_volume(tmp_path / "again.nii", volume)
        assert (tmp_path / "again.nii").read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("stored", "slope", "inter", "dtype"),
    [("uint8", 2, -100, "int16"), ("int16", 1, -1024, "int32"), ("int16", 0.1, 3.7, "float32")],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_scaled_voxels_find_back(
    tmp_path: Path, stored: str, slope: float, inter: float, dtype: str, suffix: str
) -> None:
    raw = voxels().astype(stored)
    path = save(tmp_path / f"a{suffix}", raw, slope=slope, inter=inter)
    volume = read_volume(path)
    assert volume.array.dtype == dtype
    assert np.allclose(volume.array, raw.astype(float) * slope + inter, atol=1e-3)
    assert np.array_equal(read_slice(path, 3), volume.array[:, :, 3])
    write_volume(tmp_path / f"b{suffix}", volume)
    again = nibabel.load(tmp_path / f"b{suffix}")
    assert again.get_data_dtype() == stored and np.array_equal(again.dataobj.get_unscaled(), raw)
    assert np.array_equal(read_volume(tmp_path / f"b{suffix}").array, volume.array)


def test_other_values_in_a_scaled_volume_are_not_rounded(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path / "a.nii", voxels(), slope=0.1, inter=0))
    changed = volume.array + np.float32(0.033)
    write_volume(tmp_path / "b.nii", replace(volume, array=changed))
    assert np.array_equal(read_volume(tmp_path / "b.nii").array, changed)


def test_a_mask_is_written_on_the_grid_of_its_scan(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), AFFINE)
    image.header["cal_min"], image.header["cal_max"] = -200, 300
    nibabel.save(image, tmp_path / "ct.nii")
    volume = read_volume(tmp_path / "ct.nii")
    mask = (volume.array > 0).astype(np.uint8)
    write_volume(tmp_path / "mask.nii.gz", replace(volume, array=mask))
    written = nibabel.load(tmp_path / "mask.nii.gz")
    assert written.get_data_dtype() == np.uint8 and np.array_equal(written.dataobj, mask)
    assert np.array_equal(written.affine, volume.affine)
    assert written.header["cal_max"] == 0


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_canonical_volumes_and_slices_agree_with_nibabel(
    tmp_path: Path, axes: tuple[int, int, int], signs: tuple[int, int, int], suffix: str
) -> None:
    path = save(tmp_path / f"a{suffix}", voxels(), oriented(axes, signs))
    expected = nibabel.as_closest_canonical(nibabel.load(path))
    volume = read_volume(path, canonical=True)
    assert volume.meta["axes"] == "RAS"
    assert np.array_equal(volume.array, expected.dataobj) and np.allclose(volume.affine, expected.affine)
    assert volume_shape(path, canonical=True) == expected.shape and volume_shape(path) == (7, 6, 5)
    for axis in range(3):
        for index in (0, expected.shape[axis] - 2):
            plane = read_slice(path, index, axis, canonical=True)
            assert np.array_equal(plane, volume.array.take(index, axis))


def test_a_changed_affine_is_written_with_the_codes_of_the_old_one(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), None)
    image.set_qform(AFFINE, "scanner")
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii", canonical=True)
    write_volume(tmp_path / "b.nii", volume)
    again = nibabel.load(tmp_path / "b.nii")
    assert (int(again.header["qform_code"]), int(again.header["sform_code"])) == (1, 1)
    assert np.allclose(again.affine, volume.affine, atol=1e-4) and np.allclose(
        again.header.get_zooms(), volume.spacing
    )
    assert np.array_equal(again.dataobj, volume.array)


def test_a_slice_that_is_not_there(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", voxels())
    with pytest.raises(DataError, match="no plane 5 across axis 2; it has 5"):
        read_slice(path, 5)


def test_a_newer_compressed_file_is_read_anew(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", voxels())
    first = read_slice(path, 1)
    save(path, voxels() + np.int16(1))
    assert np.array_equal(read_slice(path, 1), first + 1)


def test_writing_refuses_other_suffixes_and_types(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.nii or \.nii\.gz"):
        write_volume(tmp_path / "a.mha", Volume(voxels()))
    with pytest.raises(UsageError, match="float16"):
        write_volume(tmp_path / "a.nii", Volume(voxels().astype(np.float16)))
    assert list(tmp_path.iterdir()) == []


def test_equal_volumes_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, Volume(voxels(), AFFINE))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_names_of_values_come_from_the_header(tmp_path: Path) -> None:
    table = (
        b'<?xml version="1.0"?><CaretExtension><VolumeInformation Index="0"><LabelTable>'
        b'<Label Key="5" Red="0"><![CDATA[liver]]></Label><Label Key="90"><![CDATA[brain]]></Label>'
        b"</LabelTable></VolumeInformation></CaretExtension>"
    )
    for name, content in (("a", table), ("b", table[:-30]), ("c", b"words")):
        image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), AFFINE)
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, content))
        nibabel.save(image, tmp_path / f"{name}.nii")
    assert label_table(tmp_path / "a.nii") == {5: "liver", 90: "brain"}
    assert label_table(tmp_path / "b.nii") == label_table(tmp_path / "c.nii") == {}


def test_suffixes() -> None:
    assert is_volume("CT.NII.GZ") and not is_volume("ct.mhd") and not is_volume("._ct.nii")
