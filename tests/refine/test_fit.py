from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pixelwise.errors import DataError, UsageError
from pixelwise.refine import CrfParameters, fit_crf

START = CrfParameters(
    iterations=3, gaussian_weight=0.5, bilateral_sxy=4, bilateral_srgb=90, bilateral_weight=1
)


def examples(count: int = 2) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Two regions of a little contrast; noisy probabilities."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        target = np.zeros((20, 24), np.uint8)
        target[:, 8 + 4 * number :] = 1
        image = (100 + 30 * target[..., None] + rng.normal(0, 3, (20, 24, 3))).astype(np.uint8)
        foreground = np.clip(0.2 + 0.6 * target + rng.normal(0, 0.35, target.shape), 0.02, 0.98)
        made.append((image, np.stack([1 - foreground, foreground]), target))
    return made


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one pixel"),
        ([(i, p, np.full_like(t, 255)) for i, p, t in examples()], "at least one pixel"),
        ([(i, p, t[1:]) for i, p, t in examples()], "the target is 19x24 but the probabilities are 20x24"),
        (
            [examples()[0], (examples()[1][0], np.full((4, 20, 24), 0.25), examples()[1][2])],
            "the same classes, found 2 and 4",
        ),
    ],
)
def test_bad_examples(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_crf(given, start=START)


def test_bad_options() -> None:
    with pytest.raises(UsageError, match="rounds"):
        fit_crf(examples(), rounds=-1)
    with pytest.raises(UsageError, match="one label per pixel"):
        fit_crf(examples(), multilabel=True)


def test_finds_something_better_and_always_the_same() -> None:
    fit = fit_crf(examples(), start=START)
    first, score = fit.tried[0]
    assert first == START and fit.mean_iou > score and fit.mean_iou > fit.unrefined_mean_iou
    assert fit.mean_iou == max(score for _, score in fit.tried) and len(fit.tried) <= 19
    assert (fit.parameters.iterations, fit.parameters.gaussian_weight) == (3, 0.5)
    assert fit_crf(examples(), start=START) == fit


def test_the_score_is_that_of_applying_the_parameters() -> None:
    fit = fit_crf(examples(), start=START, rounds=0)
    assert fit.parameters == START and len(fit.tried) == 1
    inter, union = np.zeros(2), np.zeros(2)
    for image, probabilities, target in examples():
        labels = START.apply(image, probabilities).argmax(axis=0)
        for k in range(2):
            inter[k] += ((labels == k) & (target == k)).sum()
            union[k] += ((labels == k) | (target == k)).sum()
    assert fit.mean_iou == pytest.approx((inter / union).mean())


def test_what_can_be_read_once_is_kept() -> None:
    def once() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        yield from examples()

    assert fit_crf(once(), start=START, rounds=1) == fit_crf(examples(), start=START, rounds=1)


def test_binary_probabilities() -> None:
    binary = [(image, probabilities[1:], target) for image, probabilities, target in examples()]
    both, one = fit_crf(examples(), start=START, rounds=1), fit_crf(binary, start=START, rounds=1)
    assert both.parameters == one.parameters and both.mean_iou == pytest.approx(one.mean_iou)
