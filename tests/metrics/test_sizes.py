"""IoU by the size of the true regions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from pixelwise.errors import DataError, UsageError
from pixelwise.metrics.sizes import SizeIoU

scenes = arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 1, 2, 255]))


def slow(prediction, target, classes, limits):
    """The definition, region by region."""
    found = {}
    known = target != 255
    for k in range(classes):
        regions, count = ndimage.label(target == k)
        parts, _ = ndimage.label((prediction == k) & known)
        for number in range(1, count + 1):
            region = regions == number
            touched = np.isin(parts, np.unique(parts[region & (parts > 0)])) & (parts > 0)
            union = region | (touched & ~(target == k))
            iou = (region & touched).sum() / union.sum()
            size = sum(region.sum() >= limit for limit in limits)
            found.setdefault((k, size), []).append(iou)
    return found


@settings(max_examples=100, deadline=None)
@given(scenes, scenes)
def test_by_definition(prediction, target):
    sizes = SizeIoU(3, limits=(3, 10))
    sizes.update(prediction, target)
    expected = slow(prediction, target, 3, (3, 10))
    for k in range(3):
        for size in range(3):
            values = expected.get((k, size), [])
            assert sizes.regions[k, size] == len(values)
            assert sizes.sums[k, size] == pytest.approx(sum(values))


@settings(max_examples=50, deadline=None)
@given(scenes)
def test_perfect(target):
    sizes = SizeIoU(3)
    sizes.update(target, target)
    assert np.isin(np.nan_to_num(sizes.mean_iou(), nan=1), 1).all()


def test_mean_over_classes_that_are_there():
    sizes = SizeIoU(3, limits=(3,))
    sizes.update([[1, 1, 0, 2, 2, 2]], [[1, 1, 0, 0, 2, 2]])
    # Background: one of two pixels; class 1 is whole; class 2 has a pixel too many.
    np.testing.assert_allclose(sizes.mean_iou(), [(1 / 2 + 1 + 2 / 3) / 3, np.nan])


def test_merge():
    rng = np.random.default_rng(0)
    whole, parts = SizeIoU(3, (4,)), [SizeIoU(3, (4,)) for _ in range(2)]
    for part in parts:
        pair = rng.integers(0, 3, (2, 12, 12))
        part.update(*pair)
        whole.update(*pair)
    parts[0].merge(parts[1])
    np.testing.assert_allclose(parts[0].iou(), whole.iou())


class TestBadInput:
    def test_other_shapes(self):
        with pytest.raises(DataError, match="must be HxW of one size, found 2x2 and 2x3"):
            SizeIoU(2).update(np.zeros((2, 2), int), np.zeros((2, 3), int))

    def test_an_id_too_many(self):
        with pytest.raises(DataError, match=r"the target holds id 5, expected 0\.\.1"):
            SizeIoU(2).update(np.zeros((1, 1), int), np.array([[5]]))

    def test_limits(self):
        with pytest.raises(UsageError, match="increasing limits"):
            SizeIoU(2, (9, 3))

    def test_other_limits(self):
        with pytest.raises(DataError, match="cannot merge"):
            SizeIoU(2).merge(SizeIoU(2, (5,)))
