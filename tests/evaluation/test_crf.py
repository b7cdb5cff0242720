"""Choosing a CRF for a model, and measuring with it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pixelwise.errors import DataError, UsageError
from pixelwise.evaluation import choose_crf, evaluate
from pixelwise.inference import Segmentation
from pixelwise.inference.refined import RefinedSegmenter
from pixelwise.labels import LabelMap
from pixelwise.refine import DEEPLAB, CrfParameters
from pixelwise.sample import Dataset, Sample

LABELS = LabelMap(("ground", "disc"))


def scene(seed):
    """A bright disc on a dark ground, with a mask that is exact."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :64]
    disc = (y - rng.integers(16, 32)) ** 2 + (x - rng.integers(20, 44)) ** 2 < 150
    image = np.where(disc[..., None], 200, 40) + rng.normal(0, 6, (48, 64, 3))
    return image.clip(0, 255).astype(np.uint8), disc.astype(np.uint8)


@dataclass
class Noisy:
    """Knows the truth, and doubts it pixel by pixel."""

    asked: list[int]
    labels: LabelMap = LABELS

    def predict(self, image: Any, probabilities: bool = False) -> Segmentation:
        self.asked.append(int(image.sum()))
        bright = image.mean(axis=2) > 120
        doubt = np.random.default_rng(int(image[0, 0, 0])).normal(0, 0.35, bright.shape)
        chance = (np.where(bright, 0.7, 0.3) + doubt).clip(0.02, 0.98)
        planes = np.stack([1 - chance, chance]).astype(np.float32)
        return Segmentation(
            planes.argmax(0).astype(np.uint8), LABELS, image, planes if probabilities else None
        )


def scenes(splits):
    def opened(record):
        image, mask = scene(record)
        return Sample(image, mask, meta={"name": str(record)})

    return Dataset(list(range(len(splits or [0] * 6))), opened, LABELS, splits=splits, name="discs")


def sums(dataset):
    return {int(sample.image.sum()) for sample in dataset}


def test_refined_follows_the_edges():
    noisy, data = Noisy([]), scenes(None)
    plain = evaluate(noisy, data).confusion.mean_iou()
    refined = evaluate(RefinedSegmenter(noisy, CrfParameters(iterations=5, bilateral_sxy=20)), data)
    assert refined.confusion.mean_iou() > plain + 0.1 > 0.5


def test_probabilities_only_when_asked_for():
    refined = RefinedSegmenter(Noisy([]), DEEPLAB)
    image = scene(0)[0]
    assert refined.predict(image).probabilities is None
    found = refined.predict(image, probabilities=True)
    np.testing.assert_allclose(found.probabilities.sum(0), 1, atol=1e-4)
    np.testing.assert_array_equal(found.probabilities.argmax(0), found.mask)


def test_the_published_values_need_no_data():
    noisy = Noisy([])
    choice = choose_crf("deeplab", noisy, scenes(None))
    assert (choice.parameters, len(choice.measure_on), noisy.asked) == (DEEPLAB, 6, [])


@pytest.mark.parametrize(("split", "fitted_on"), [("test", "val"), ("val", "train"), ("train", "val")])
def test_fitted_on_another_split(split, fitted_on):
    data, noisy = scenes(["train"] * 2 + ["val"] * 2 + ["test"] * 2), Noisy([])
    choice = choose_crf("fit", noisy, data, split)
    assert set(noisy.asked) == sums(data.select(fitted_on))
    assert sums(choice.measure_on) == sums(data.select(split))
    assert f"of the split {fitted_on}" in choice.source


def test_one_split_is_halved():
    data, noisy = scenes(None), Noisy([])
    choice = choose_crf("fit", noisy, data)
    assert len(choice.measure_on) == 3
    assert not set(noisy.asked) & sums(choice.measure_on)
    assert "not measured" in choice.source


class TestBadInput:
    def test_an_unknown_way(self):
        with pytest.raises(UsageError, match="unknown way to choose a CRF 'fitt': did you mean 'fit'?"):
            choose_crf("fitt", Noisy([]), scenes(None))

    def test_one_image(self):
        with pytest.raises(DataError, match="too few images to fit a CRF on some and measure it on others"):
            choose_crf("fit", Noisy([]), scenes(None)[:1])
