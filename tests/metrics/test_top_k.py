"""Pixel accuracy among the first k classes."""

import numpy as np
import pytest

from pixelwise.errors import DataError, UsageError
from pixelwise.metrics import ConfusionMatrix, top_k_accuracy


def scene(seed=0):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 5, (20, 30)).astype(np.uint8)
    target[0, :4] = 255
    return rng.normal(size=(5, 20, 30)).round(1), target  # rounded, so that there are ties


def test_of_mmsegmentations_own_test():
    scores = [
        [0.2, 0.3, 0.6, 0.5],
        [0.1, 0.1, 0.2, 0.6],
        [0.9, 0, 0, 0.1],
        [0.4, 0.7, 0.1, 0.1],
        [0, 0, 0.99, 0],
    ]
    assert top_k_accuracy(np.transpose(scores), [3, 2, 0, 0, 2], k=2) == 1


def test_the_first_is_the_pixel_accuracy_and_all_are_certain():
    scores, target = scene()
    matrix = ConfusionMatrix(5)
    matrix.update(scores.argmax(0), target)
    found = [top_k_accuracy(scores, target, k) for k in range(1, 6)]
    assert found[0] == pytest.approx(matrix.pixel_accuracy())
    assert found == sorted(found) and found[-1] == 1


def test_as_sorting_says():
    scores, target = scene(1)
    order = np.argsort(-scores, axis=0, kind="stable")[:3]
    known = target != 255
    assert top_k_accuracy(scores, target, 3) == pytest.approx((order == target).any(0)[known].mean())


def test_nothing_to_count():
    assert np.isnan(top_k_accuracy(np.zeros((2, 1)), [255], 1))


@pytest.mark.parametrize(
    ("scores", "target", "k", "error", "message"),
    [
        (np.zeros((3, 4)), np.zeros(5, int), 1, DataError, "scores of 3x4 do not fit a target of 5"),
        (np.zeros((3, 4)), np.zeros(4), 1, DataError, "integer class ids but is float64"),
        (np.zeros((3, 4)), np.zeros(4, int), 4, UsageError, "between 1 and the 3 classes, got 4"),
        (np.zeros((3, 4)), np.zeros(4, int), 0, UsageError, "got 0"),
        (np.full((3, 4), np.nan), np.zeros(4, int), 1, DataError, "a score is nan"),
        (np.zeros((3, 4)), np.full(4, 7), 1, DataError, r"holds id 7, expected 0\.\.2"),
    ],
)
def test_bad_input(scores, target, k, error, message):
    with pytest.raises(error, match=message):
        top_k_accuracy(scores, target, k)
