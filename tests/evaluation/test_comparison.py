"""Two evaluations side by side."""

import json

import numpy as np
import pytest

from pixelwise.errors import DataError
from pixelwise.evaluation import Evaluation, ImageScore, compare
from pixelwise.labels import LabelMap
from pixelwise.metrics import ConfusionMatrix

LABELS = LabelMap(("road", "car", "sky"))


def evaluation(errors, labels=LABELS, names=None, seed=0):
    """Images whose pixels are wrong with the probability ``errors``."""
    rng = np.random.default_rng(seed)
    total, images = ConfusionMatrix(3), []
    order = [labels.index(name) for name in LABELS.names]
    for number, error in enumerate(errors):
        target = rng.integers(0, 2, 400)
        wrong = rng.random(400) < error
        matrix = ConfusionMatrix(3)
        matrix.update(np.where(wrong, 1 - target, target), target)
        counts = np.zeros((3, 3), np.int64)
        counts[np.ix_(order, order)] = matrix.counts
        total.merge(ConfusionMatrix.from_counts(counts))
        name = names[number] if names else f"image {number}"
        images.append(ImageScore.from_counts(number, name, "", counts))
    return Evaluation(labels, total, images, name="streets")


def test_a_clear_gain():
    result = compare(evaluation([0.3] * 30), evaluation([0.1] * 30, seed=1))
    assert result.mean_iou.value > 0.2 and result.mean_iou.clear
    assert result.mean_iou.low < result.mean_iou.value < result.mean_iou.high
    assert result.per_class["car"].clear
    assert result.per_class["sky"].value is None
    assert len(result.better) == 3 and result.worse == ()


def test_the_same_twice():
    result = compare(evaluation([0.1, 0.2]), evaluation([0.1, 0.2]))
    assert (result.mean_iou.value, result.mean_iou.low, result.mean_iou.high) == (0, 0, 0)
    assert not result.mean_iou.clear


def test_pairing_narrows_the_interval():
    """Hard images are hard for both, which says nothing about the difference."""
    errors = np.linspace(0.02, 0.45, 40)
    first, second = evaluation(errors), evaluation(errors - 0.02, seed=1)
    paired = compare(first, second).mean_iou
    low, high = second.interval()
    assert paired.high - paired.low < (high - low) / 2


def test_another_order_of_classes_and_images():
    names = ["a", "b", "c"]
    turned = LabelMap(("sky", "road", "car"))
    first = evaluation([0.1, 0.2, 0.3], names=names)
    second = evaluation([0.1, 0.2, 0.3], turned, names=names)
    second.images.reverse()
    assert compare(first, second).mean_iou.value == pytest.approx(0)
    assert compare(first, second).per_class["car"].value == pytest.approx(0)


def test_only_common_images_count():
    first = evaluation([0.1, 0.2], names=["a", "b"])
    second = evaluation([0.1, 0.9], names=["a", "z"])
    assert compare(first, second).images == 1


def test_text_and_json():
    result = compare(evaluation([0.3] * 10), evaluation([0.1] * 10, seed=1))
    assert "mean IoU" in result.text() and "most better: image" in result.text()
    assert json.loads(json.dumps(result.to_dict()))["mean_iou"]["clear"] is True


class TestBadInput:
    def test_other_classes(self):
        other = Evaluation(LabelMap(("road", "car", "tree")), ConfusionMatrix(3), [])
        with pytest.raises(DataError, match=r"different classes \(sky, tree\)"):
            compare(evaluation([0.1]), other)

    def test_no_common_image(self):
        with pytest.raises(DataError, match="no image in common"):
            compare(evaluation([0.1], names=["a"]), evaluation([0.1], names=["b"]))
