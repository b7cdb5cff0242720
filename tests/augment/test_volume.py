"""Patches and augmentation of volumes."""

from dataclasses import replace

import numpy as np
import pytest

from pixelwise.augment import VolumeAugment, VolumePatchSampler, apply_window
from pixelwise.augment.volume import flip_volume
from pixelwise.errors import DataError, UsageError
from pixelwise.sample import Volume

SHAPE = (30, 24, 18)


@pytest.fixture
def volume() -> Volume:
    """Every voxel holds its own number, and is found again by it."""
    array = np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE)
    affine = np.diag([0.7, 0.8, 5.0, 1.0])
    affine[:3, 3] = (-10, 20, 30)
    return Volume(array, affine, (array % 7 == 0).astype(np.uint8))


def rng(seed=0) -> np.random.Generator:
    return np.random.default_rng(seed)


def world(volume: Volume, voxel) -> np.ndarray:
    return (volume.affine @ [*voxel, 1])[:3]


def assert_same_places(part: Volume, whole: Volume, voxels):
    for voxel in voxels:
        source = np.unravel_index(part.array[voxel], SHAPE)
        np.testing.assert_allclose(world(part, voxel), world(whole, source))


def test_a_patch_is_a_box_of_the_volume_and_its_affine_says_where(volume):
    patch = VolumePatchSampler((8, 10, 6))(volume, rng())
    x, y, z = np.unravel_index(patch.array[0, 0, 0], SHAPE)
    box = np.s_[x : x + 8, y : y + 10, z : z + 6]
    np.testing.assert_array_equal(patch.array, volume.array[box])
    np.testing.assert_array_equal(patch.mask, volume.mask[box])
    assert_same_places(patch, volume, [(0, 0, 0), (7, 9, 5)])


def test_every_box_inside_can_come(volume):
    sampler, generator = VolumePatchSampler((29, 24, 16), foreground=0), rng()
    corners = {sampler(volume, generator).array[0, 0, 0] for _ in range(200)}
    assert corners == {volume.array[x, 0, z] for x in range(2) for z in range(3)}


def test_rarer_classes_are_in_the_middle_and_equally_likely(volume):
    mask = np.zeros(SHAPE, np.uint8)
    mask[:3] = 255  # ignored
    mask[10:20, 5:15, 5:15] = 1
    mask[15, 12, 9] = 2
    sampler, generator = VolumePatchSampler((5, 5, 5), foreground=1), rng()
    middles = [sampler(replace(volume, mask=mask), generator).mask[2, 2, 2] for _ in range(200)]
    counts = np.bincount(middles)
    assert counts[0] == 0
    assert counts[2] > 60


def test_where_it_overhangs_it_is_mirrored_and_ignored(volume):
    patch = VolumePatchSampler((30, 30, 18), ignore=9)(volume, rng())
    outside = patch.mask == 9
    assert outside.sum() == 30 * 6 * 18
    first = int(np.flatnonzero(~outside[0, :, 0])[0])
    np.testing.assert_array_equal(patch.array[:, first : first + 24], volume.array)
    np.testing.assert_array_equal(patch.array[:, first - 1], volume.array[:, 1])


def test_channels_stay_together(volume):
    coloured = replace(volume, array=np.stack([volume.array, volume.array + 1], axis=-1))
    patch = VolumePatchSampler((40, 8, 8))(coloured, rng())
    assert patch.array.shape == (40, 8, 8, 2)
    np.testing.assert_array_equal(patch.array[..., 1], patch.array[..., 0] + 1)


@pytest.mark.parametrize("axes", [(), (0,), (1, 2), (0, 1, 2)])
def test_mirroring_moves_the_affine_too(volume, axes):
    flipped = flip_volume(volume, axes)
    assert_same_places(flipped, volume, [(0, 0, 0), (3, 5, 7)])
    np.testing.assert_array_equal(flipped.mask, flipped.array % 7 == 0)
    np.testing.assert_array_equal(flip_volume(flipped, axes).array, volume.array)


def test_without_changes_only_the_window_is_left(volume):
    augment = VolumeAugment(SHAPE, (0, 1000), flip=(0, 0, 0), gain=0, gamma=0, shift=0, noise=0)
    augmented = augment(volume, rng())
    np.testing.assert_array_equal(augmented.array, apply_window(volume.array, (0, 1000)))
    assert augmented.array.dtype == np.float32


def test_intensities_change_within_the_range_and_labels_do_not(volume):
    augment = VolumeAugment(SHAPE, (0, 12000), flip=(0, 0, 0))
    first, again, other = augment(volume, rng(1)), augment(volume, rng(1)), augment(volume, rng(2))
    np.testing.assert_array_equal(first.array, again.array)
    assert not np.array_equal(first.array, other.array)
    assert first.array.min() >= 0 and first.array.max() <= 255
    assert np.abs(first.array - apply_window(volume.array, (0, 12000))).mean() > 1
    np.testing.assert_array_equal(first.mask, volume.mask)


def test_a_users_function_runs_and_keeps_the_size(volume):
    augment = VolumeAugment((8, 8, 8), then=(lambda v: replace(v, array=v.array[1:]),))
    with pytest.raises(UsageError, match="keep the size"):
        augment(volume, rng())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": (200, -100)}, "low before high"),
        ({"flip": (0.5, 2, 0)}, "three probabilities"),
        ({"noise": -1}, "noise is the largest change"),
    ],
)
def test_bad_settings_are_explained(settings, message):
    with pytest.raises(UsageError, match=message):
        VolumeAugment((8, 8, 8), **settings)
    with pytest.raises(UsageError, match="three sides"):
        VolumePatchSampler((8, 8))


def test_volumes_that_do_not_fit_are_explained(volume):
    sampler = VolumePatchSampler((8, 8, 8))
    with pytest.raises(DataError, match="on one grid"):
        sampler(replace(volume, mask=volume.mask[1:]), rng())
    with pytest.raises(DataError, match="class ids as uint8"):
        sampler(replace(volume, mask=volume.mask.astype(np.int64)), rng())
    with pytest.raises(DataError, match="expected X×Y×Z"):
        sampler(Volume(np.zeros((4, 4))), rng())
