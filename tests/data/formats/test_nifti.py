"""Slices of volumes with their neighbours as channels (2.5-D); the layouts are in test_lits.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pixelwise as pw
from pixelwise.data.datasets import lits
from pixelwise.data.formats import nifti
from pixelwise.errors import UsageError

nibabel = pytest.importorskip("nibabel")

SHAPE = (6, 5, 4)
LAS = np.diag([-0.8, 0.8, 2.5, 1.0])
NAMES = ["no", "yes"]


def scan(channels: tuple[int, ...] = ()) -> np.ndarray:
    return np.random.default_rng(0).integers(-500, 500, SHAPE + channels).astype(np.int16)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fill(tmp_path, scan())


def fill(root: Path, array: np.ndarray) -> Path:
    for name, voxels in (("images", array), ("masks", np.ones(SHAPE, np.uint8))):
        (root / name).mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(voxels, LAS), root / name / "a.nii")
    return root


@pytest.mark.parametrize("neighbours", [-1, 1.5, "1"])
def test_neighbours_that_are_no_number_of_slices(root: Path, neighbours: object) -> None:
    with pytest.raises(UsageError, match=r"neighbours is how many slices on either side .* found"):
        nifti.read(root, NAMES, as_slices=True, neighbours=neighbours)


def test_neighbours_of_whole_volumes_make_no_sense(root: Path) -> None:
    with pytest.raises(UsageError, match=r"neighbours are for slices, .* as_slices=True"):
        pw.read(root, "nifti", labels=NAMES, neighbours=1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_channels_are_slices_in_their_order_and_the_last_is_repeated(root: Path, axis: int) -> None:
    data = nifti.read(root, NAMES, as_slices=True, window=(-500, 500), axis=axis, neighbours=2)
    plain = nifti.read(root, NAMES, as_slices=True, window=(-500, 500), axis=axis)
    count = SHAPE[axis]
    assert len(data) == count
    for index, sample in enumerate(data):
        assert sample.image.dtype == np.uint8 and sample.image.shape[2] == 5
        for channel in range(5):
            other = min(max(index + channel - 2, 0), count - 1)
            assert np.array_equal(sample.image[..., channel], plain[other].image[..., 0])
        assert np.array_equal(sample.mask, plain[index].mask)


def test_neighbours_keep_values_without_a_window(root: Path) -> None:
    sample = nifti.read(root, NAMES, as_slices=True, neighbours=1)[1]
    pictures = [scan()[::-1, :, z].T[::-1] for z in (0, 1, 2)]
    assert sample.image.dtype == np.int16
    assert np.array_equal(sample.image, np.dstack(pictures))


def test_channels_of_a_scan_stay_together(tmp_path: Path) -> None:
    fill(tmp_path, scan((2,)))
    sample = nifti.read(tmp_path, NAMES, as_slices=True, neighbours=1, canonical=False)[0]
    planes = [scan((2,))[:, :, z].swapaxes(0, 1)[::-1] for z in (0, 0, 1)]
    assert np.array_equal(sample.image, np.concatenate(planes, axis=2))


def test_samples_say_how_they_were_read(root: Path) -> None:
    options = {"axis": 1, "window": (-10, 90), "neighbours": 1, "canonical": False}
    data = nifti.read(root, NAMES, as_slices=True, **options)
    assert data[0].meta["reading"] == options
    assert nifti.read(root, NAMES)[0].meta["reading"] == {"canonical": True}


def test_slices_of_lits_have_neighbours_too(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(scan(), LAS), tmp_path / "volume-0.nii")
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), LAS), tmp_path / "segmentation-0.nii")
    sample = lits.read(tmp_path, as_slices=True, neighbours=1)[0]
    plain = lits.read(tmp_path, as_slices=True)
    expected = np.dstack([plain[z].image[..., 0] for z in (0, 0, 1)])
    assert np.array_equal(sample.image, expected)
    assert sample.meta["reading"]["window"] == lits.WINDOW and sample.meta["reading"]["neighbours"] == 1
    with pytest.raises(UsageError, match="as_slices=True"):
        lits.read(tmp_path, neighbours=1)
