import numpy as np
import pytest

from pixelwise.augment import resize_sample
from pixelwise.errors import DataError
from pixelwise.sample import Sample


def test_shrinking_averages_the_image_and_picks_labels_at_centres() -> None:
    rank = np.arange(9 * 12, dtype=np.uint16).reshape(9, 12)
    sample = Sample(
        np.repeat(rank[..., None], 5, axis=2).astype(np.float32),
        rank,
        instances=rank.astype(np.int32),
        weights={"border": rank.astype(np.float32)},
        path="a.png",
        meta={"split": "val"},
    )
    small = resize_sample(sample, (3, 4))
    centres = rank[1::3, 1::3]
    np.testing.assert_array_equal(small.mask, centres)
    np.testing.assert_array_equal(small.instances, centres)
    np.testing.assert_array_equal(small.weights["border"], centres)
    np.testing.assert_allclose(small.image, np.repeat(centres[..., None], 5, axis=2), rtol=1e-6)
    assert small.mask.dtype == np.uint16 and small.instances.dtype == np.int32
    assert small.path == sample.path and small.meta == sample.meta


def test_growing_interpolates_the_image_and_repeats_labels() -> None:
    sample = Sample(np.array([[[0.0], [1.0]]], np.float32), np.array([[3, 7]], np.uint8))
    large = resize_sample(sample, (1, 4))
    np.testing.assert_allclose(large.image[0, :, 0], [0, 0.25, 0.75, 1])
    np.testing.assert_array_equal(large.mask, [[3, 3, 7, 7]])


def test_one_axis_may_shrink_while_the_other_grows() -> None:
    stripes = np.tile(np.array([[0.0], [2.0]], np.float32), (4, 3))[..., None]
    resized = resize_sample(Sample(stripes), (4, 9))
    np.testing.assert_allclose(resized.image, 1.0)
    assert resized.image.shape == (4, 9, 1) and resized.mask is None


def test_the_same_size_is_the_same_sample() -> None:
    sample = Sample(np.zeros((5, 7, 3), np.uint8))
    assert resize_sample(sample, (5, 7)) is sample


def test_image_and_instances_of_different_sizes() -> None:
    sample = Sample(np.zeros((5, 7, 3), np.uint8), instances=np.zeros((5, 8), np.int32))
    with pytest.raises(DataError, match="the image is 7x5 pixels but its instances 8x5"):
        resize_sample(sample, (3, 3))
