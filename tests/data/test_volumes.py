"""Synthetic computed tomography."""

import numpy as np
import pytest
from scipy import ndimage

from pixelwise.data.synthetic import CT_LABELS, ct_volume, volume_dataset
from pixelwise.errors import UsageError

SIZE = (40, 40, 32)


def test_equal_seeds_give_equal_voxels():
    first, again, other = ct_volume(1, SIZE), ct_volume(1, SIZE), ct_volume(2, SIZE)
    np.testing.assert_array_equal(first.array, again.array)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert not np.array_equal(first.mask, other.mask)


def test_volumes_are_of_the_kind_that_scanners_give():
    for volume in volume_dataset(4, size=SIZE):
        assert volume.array.shape == volume.mask.shape == SIZE
        assert volume.array.dtype == np.int16
        assert volume.array.min() < -900 and volume.array.max() > 200
        assert len(set(np.round(volume.spacing, 3))) == 3
        assert np.linalg.det(volume.affine[:3, :3]) > 0
        assert 80 < volume.array[volume.mask == 1].mean() < 135


def test_tumours_lie_in_the_liver_and_vary_in_number():
    numbers = set()
    for volume in volume_dataset(12, size=SIZE):
        numbers.add(volume.meta["tumours"])
        tumours = volume.mask == 2
        assert tumours.any() == (volume.meta["tumours"] > 0)
        assert ndimage.label(tumours, np.ones((3, 3, 3)))[1] <= 4 * volume.meta["tumours"]
        around = ndimage.binary_dilation(tumours, iterations=2) & ~tumours
        assert not tumours.any() or (volume.mask[around] == 1).any()
    assert numbers <= {0, 1, 2, 3, 4}
    assert len(numbers) >= 3


def test_organs_overlap_in_intensity():
    volume = ct_volume(0, SIZE)
    liver = volume.array[volume.mask == 1]
    low, high = np.percentile(liver, [5, 95])
    alike = (volume.array > low) & (volume.array < high) & (volume.mask == 0)
    assert alike.sum() > 0.2 * liver.size


def test_splits():
    data = volume_dataset(10, size=SIZE)
    assert (len(data.select("train")), len(data.select("val"))) == (8, 2)
    assert data.labels == CT_LABELS
    assert data[3].meta["name"] == "ct_0004"
    own = volume_dataset(3, size=SIZE, splits={"train": 1, "val": 1, "test": 1})
    assert own.splits == ("train", "val", "test")
    with pytest.raises(UsageError, match="make them equal"):
        volume_dataset(3, splits={"train": 2})
    with pytest.raises(UsageError, match="three sides"):
        ct_volume(0, (8, 64, 64))
