"""Reliability and calibration errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.errors import DataError, UsageError
from pixelwise.metrics.calibration import Calibration


def scene(seed, classes=4, size=(20, 30), sharpness=2.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, sharpness, (classes, *size))
    chances = np.exp(logits) / np.exp(logits).sum(0)
    target = rng.integers(0, classes, size).astype(np.uint8)
    target[0, :3] = 255
    return chances, target


def slow_error(chances, target, bins):
    confidence, right = chances.max(0)[target != 255], (chances.argmax(0) == target)[target != 255]
    total = 0.0
    for low in range(bins):
        inside = np.minimum((confidence * bins).astype(int), bins - 1) == low
        if inside.any():
            total += inside.sum() * abs(confidence[inside].mean() - right[inside].mean())
    return total / len(confidence)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_by_definition(bins):
    chances, target = scene(0)
    calibration = Calibration(bins)
    calibration.update(chances, target)
    assert calibration.expected_error() == pytest.approx(slow_error(chances, target, bins))
    assert calibration.pixels.sum() == 597
    assert calibration.maximum_error() >= calibration.expected_error()


def test_a_model_that_knows_what_it_knows():
    """Targets drawn from the very probabilities leave no gap but noise."""
    chances, _ = scene(1, classes=3, size=(300, 300))
    drawn = np.random.default_rng(0).random((300, 300))
    target = (drawn > chances.cumsum(0)).sum(0).astype(np.uint8).clip(0, 2)
    calibration = Calibration()
    calibration.update(chances, target)
    assert calibration.expected_error() < 0.01
    confidence, accuracy = calibration.reliability()
    np.testing.assert_allclose(accuracy[-5:], confidence[-5:], atol=0.03)


def test_certain_and_right():
    calibration = Calibration()
    calibration.update(np.eye(2)[:, :, None], np.array([[0], [1]]))
    assert (calibration.expected_error(), calibration.maximum_error()) == (0, 0)


def test_nothing_counted():
    calibration = Calibration()
    calibration.update(np.full((2, 1, 1), 0.5), np.array([[255]]))
    assert np.isnan(calibration.expected_error()) and np.isnan(calibration.maximum_error())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_merging_is_adding(seeds):
    whole, left, right = Calibration(), Calibration(), Calibration()
    for number, seed in enumerate(seeds):
        whole.update(*scene(seed))
        (left if number < 2 else right).update(*scene(seed))
    left.merge(right)
    assert left.expected_error() == pytest.approx(whole.expected_error())
    again = Calibration.from_dict(whole.to_dict())
    assert again.expected_error() == whole.expected_error()


class TestBadInput:
    @pytest.mark.parametrize(
        ("chances", "target", "message"),
        [
            (np.full((2, 3, 3), 0.5), np.zeros((3, 4), int), "2x3x3 do not fit a target of 3x4"),
            (np.full((2, 3, 3), 0.5), np.zeros((3, 3)), "integer class ids but is float64"),
            (np.full((2, 3, 3), 0.7), np.zeros((3, 3), int), r"sum to 1 over the classes, found 1\.4"),
            (np.full((2, 3, 3), np.nan), np.zeros((3, 3), int), "found nan"),
            (np.array([[[1.5]], [[-0.5]]]), np.zeros((1, 1), int), "probabilities must sum to 1"),
        ],
    )
    def test_one_sentence(self, chances, target, message):
        calibration = Calibration()
        with pytest.raises(DataError, match=message):
            calibration.update(chances, target)
        assert not calibration.pixels.any()

    def test_no_bins(self):
        with pytest.raises(UsageError, match="at least one bin"):
            Calibration(0)

    def test_other_bins(self):
        with pytest.raises(DataError, match="cannot merge 10 bins into 15"):
            Calibration().merge(Calibration(10))
