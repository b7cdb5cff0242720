from typing import Any

import numpy as np
import pytest

from pixelwise.errors import DataError, UsageError
from pixelwise.refine import bilateral_solver

GUIDE = np.zeros((40, 48, 3), np.uint8)
GUIDE[:, 24:] = (200, 180, 40)
TARGET = np.where(GUIDE[..., 0] > 0, 0.9, 0.1)


@pytest.mark.parametrize(
    ("guide", "target", "confidence", "message"),
    [
        (GUIDE[..., 0], TARGET, None, "the guide must be HxWx3 uint8"),
        (GUIDE / 255, TARGET, None, "the guide must be HxWx3 uint8"),
        (GUIDE, TARGET[1:], None, "the guide is 40x48 but the target is 39x48"),
        (GUIDE, TARGET, TARGET[1:], "the guide is 40x48 but the confidence is 39x48"),
        (GUIDE, TARGET * np.nan, None, "the target must be finite floats"),
        (GUIDE, TARGET > 0.5, None, "the target must be finite floats, found bool"),
        (GUIDE, TARGET, -TARGET, "the confidence must be at least 0"),
        (GUIDE, TARGET, TARGET * 0, "above 0 somewhere"),
    ],
)
def test_bad_data(guide: Any, target: Any, confidence: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        bilateral_solver(guide, target, confidence)


@pytest.mark.parametrize("options", [{"sxy": 0}, {"sluma": -1}, {"smoothness": -1}, {"iterations": 0}])
def test_bad_parameters(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        bilateral_solver(GUIDE, TARGET, **options)


def test_noise_goes_and_the_edge_stays() -> None:
    noisy = TARGET + np.random.default_rng(0).normal(0, 0.2, TARGET.shape)
    solved = bilateral_solver(GUIDE, noisy)
    assert solved.dtype == np.float32 and solved.shape == TARGET.shape
    assert np.abs(solved - TARGET).max() < 0.06
    assert np.abs(noisy - TARGET).max() > 0.5


def test_a_constant_stays() -> None:
    guide = np.random.default_rng(1).integers(0, 255, GUIDE.shape, dtype=np.uint8)
    np.testing.assert_allclose(bilateral_solver(guide, np.full(TARGET.shape, 0.3)), 0.3, atol=1e-5)


def test_without_smoothness_it_only_resamples() -> None:
    """Every corner is then the mean of the pixels around it."""
    solved = bilateral_solver(GUIDE, TARGET, smoothness=0)
    np.testing.assert_allclose(solved, TARGET, atol=1e-3)


def test_smoothness_smooths() -> None:
    noisy = TARGET + np.random.default_rng(0).normal(0, 0.2, TARGET.shape)
    errors = [
        np.abs(bilateral_solver(GUIDE, noisy, smoothness=value, sxy=3) - TARGET).mean()
        for value in (0.1, 10, 1000)
    ]
    assert errors == sorted(errors, reverse=True)


def test_what_is_not_trusted_comes_from_elsewhere_in_the_region() -> None:
    spoilt = TARGET.copy()
    spoilt[10:20, 4:14] = 7
    confidence = np.ones(TARGET.shape)
    confidence[10:20, 4:14] = 0
    assert np.abs(bilateral_solver(GUIDE, spoilt, confidence) - TARGET).max() < 0.02
