"""Label volumes: on exactly the grid of their scan, with the names of the classes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pixelwise.errors import DataError, UsageError
from pixelwise.io.volumes import canonical_view, label_table, read_volume
from pixelwise.io.volumes_write import write_labels, write_probabilities, write_volume
from pixelwise.labels import LabelMap
from pixelwise.sample import Volume

nibabel = pytest.importorskip("nibabel")

SHAPE = (5, 4, 3)
LABELS = LabelMap(("background", "liver <left> & right", "tumour"))


def scan_file(path: Path, kind: type = nibabel.Nifti1Image) -> Path:
    """A scan whose two coordinate systems differ, in other units than usual and with a scale."""
    array = np.random.default_rng(0).integers(-900, 900, SHAPE).astype(np.int16)
    image = kind(array, None)
    angle = np.pi / 7
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    image.header.set_qform(turned @ np.diag([-0.7, 0.7, 2.5, 1]), 1)
    image.header.set_sform(np.diag([-0.7, 0.7, 2.5, 1]), 4)
    image.header.set_xyzt_units("micron", "msec")
    image.header["descrip"] = b"a scan"
    image.header["cal_max"] = 300
    image.header.set_slope_inter(2.0, -1024.0)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"kept"))
    nibabel.save(image, path)
    return path


def labelled(path: Path) -> Volume:
    return replace(read_volume(path), mask=np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8))


def test_only_nifti_is_written(tmp_path: Path) -> None:
    volume = labelled(scan_file(tmp_path / "ct.nii"))
    with pytest.raises(UsageError, match=r"mask\.png: volumes are written as"):
        write_labels(tmp_path / "mask.png", volume, LABELS)
    assert not (tmp_path / "mask.png").exists()


def test_a_singular_affine_cannot_be_turned() -> None:
    with pytest.raises(DataError, match=r"here: the affine has no orientation"):
        canonical_view(np.zeros(SHAPE), np.zeros((4, 4)), "here")


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_labels_lie_on_the_grid_of_their_scan(tmp_path: Path, kind: type, suffix: str) -> None:
    path = scan_file(tmp_path / f"ct{suffix}", kind)
    volume = labelled(path)
    write_labels(tmp_path / f"mask{suffix}", volume, LABELS)
    scan, mask = nibabel.load(path), nibabel.load(tmp_path / f"mask{suffix}")
    assert type(mask) is type(scan) and mask.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(mask.dataobj), volume.mask)
    assert (mask.dataobj.slope, mask.dataobj.inter) == (1, 0)
    assert np.array_equal(mask.affine, scan.affine)
    for field in ("qform_code", "sform_code", "xyzt_units", "pixdim", "quatern_b", "quatern_c", "quatern_d"):
        assert np.array_equal(mask.header[field], scan.header[field]), field
    for field in ("srow_x", "srow_y", "srow_z", "qoffset_x", "descrip"):
        assert np.array_equal(mask.header[field], scan.header[field]), field
    assert mask.header.get_intent()[0] == "label" and mask.header["cal_max"] == 0
    assert b"kept" in mask.header.extensions[0].get_content()


def test_names_come_back_from_the_header(tmp_path: Path) -> None:
    volume = labelled(scan_file(tmp_path / "ct.nii.gz"))
    write_labels(tmp_path / "mask.nii.gz", volume, LABELS)
    assert label_table(tmp_path / "mask.nii.gz") == dict(enumerate(LABELS.names))
    # A mask that is labelled again has one table, the new one.
    again = labelled(tmp_path / "mask.nii.gz")
    write_labels(tmp_path / "again.nii.gz", again, LabelMap(("a", "b", "c")))
    assert label_table(tmp_path / "again.nii.gz") == {0: "a", 1: "b", 2: "c"}


def test_planes_of_several_labels_become_a_fourth_axis(tmp_path: Path) -> None:
    planes = np.random.default_rng(0).integers(0, 2, (3, *SHAPE)).astype(np.uint8)
    volume = replace(labelled(scan_file(tmp_path / "ct.nii")), mask=planes)
    write_labels(tmp_path / "mask.nii", volume, LABELS)
    written = np.asarray(nibabel.load(tmp_path / "mask.nii").dataobj)
    assert np.array_equal(written, np.moveaxis(planes, 0, -1))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_probabilities_of_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr("pixelwise.io.volumes_write._PLANES", 2)
    path = scan_file(tmp_path / f"ct{suffix}")
    chances = np.random.default_rng(0).random((2, *SHAPE)).astype(np.float16)
    write_probabilities(tmp_path / f"p{suffix}", read_volume(path), chances)
    written, scan = nibabel.load(tmp_path / f"p{suffix}"), nibabel.load(path)
    assert written.shape == (*SHAPE, 2) and written.get_data_dtype() == np.uint16
    assert np.abs(written.get_fdata() - np.moveaxis(chances, 0, -1)).max() < 1e-5
    assert np.array_equal(written.affine, scan.affine)
    assert b"kept" in written.header.extensions[0].content
    with pytest.raises(UsageError, match=r"p\.npz: volumes are written as"):
        write_probabilities(tmp_path / "p.npz", read_volume(path), chances)


def test_probabilities_of_a_volume_in_memory(tmp_path: Path) -> None:
    chances = np.random.default_rng(0).random((1, *SHAPE)).astype(np.float32)
    volume = Volume(np.zeros(SHAPE), np.diag([1.0, 2, 3, 1]))
    write_probabilities(tmp_path / "p.nii", volume, chances)
    assert np.abs(nibabel.load(tmp_path / "p.nii").get_fdata()[..., 0] - chances[0]).max() < 1e-5


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_canonical_view_is_what_reading_canonical_gives(tmp_path: Path, order: tuple[int, ...]) -> None:
    for signs in itertools.product((1, -1), repeat=3):
        affine = np.eye(4)
        affine[:3, :3] = np.diag([0.5, 1, 2])[:, order] * signs
        array = np.arange(60, dtype=np.int16).reshape(SHAPE)
        write_volume(tmp_path / "a.nii", Volume(array, affine))
        view = canonical_view(array, affine, "a")
        assert np.array_equal(view, read_volume(tmp_path / "a.nii", canonical=True).array)
        assert np.shares_memory(view, array)
