from typing import Any

import numpy as np
import pytest

from pixelwise.errors import DataError, UsageError
from pixelwise.refine import guided_filter

RNG = np.random.default_rng(0)
GREY, COLOUR, SOURCE = RNG.random((9, 11)), RNG.random((9, 11, 3)), RNG.random((9, 11))


def window_by_window(guide: np.ndarray, source: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """The paper's definition, one least squares problem for each window."""
    height, width, channels = guide.shape
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            window = (
                slice(max(0, y - radius), y + radius + 1),
                slice(max(0, x - radius), x + radius + 1),
            )
            inside, values = guide[window].reshape(-1, channels), source[window].ravel()
            centred = inside - inside.mean(axis=0)
            left = centred.T @ centred / len(values) + epsilon * np.eye(channels)
            slope = np.linalg.solve(left, centred.T @ (values - values.mean()) / len(values))
            total[window] += guide[window] @ slope + values.mean() - inside.mean(axis=0) @ slope
            count[window] += 1
    return total / count


@pytest.mark.parametrize(
    ("guide", "source", "message"),
    [
        (GREY[:-1], SOURCE, "the guide is 8x11 but the source is 9x11"),
        (COLOUR[..., :2], SOURCE, "the guide must be HxW or HxWx3, found 9x11x2"),
        ((GREY * 9).astype(int), SOURCE, "the guide must be uint8 or finite floats, found int64"),
        (GREY * np.nan, SOURCE, "the guide must be uint8 or finite floats"),
        (GREY, SOURCE > 0.5, "HxW or HxWxC finite floats, found 9x11 bool"),
        (GREY, SOURCE * np.inf, "finite floats"),
        (GREY, SOURCE.ravel(), "HxW or HxWxC finite floats, found 99"),
    ],
)
def test_bad_data(guide: Any, source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        guided_filter(guide, source, 2, 0.01)


@pytest.mark.parametrize(
    ("radius", "epsilon", "message"),
    [(0, 0.1, "radius"), (1.5, 0.1, "radius"), (2, 0, "epsilon"), (2, np.nan, "epsilon")],
)
def test_bad_parameters(radius: Any, epsilon: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        guided_filter(GREY, SOURCE, radius, epsilon)


@pytest.mark.parametrize("guide", [GREY[..., None], COLOUR])
def test_equals_the_definition(guide: np.ndarray) -> None:
    given = guide[..., 0] if guide.shape[2] == 1 else guide
    filtered = guided_filter(given, SOURCE, 2, 0.02)
    assert filtered.dtype == np.float32
    np.testing.assert_allclose(filtered, window_by_window(guide, SOURCE, 2, 0.02), atol=1e-6)


def test_channels_are_filtered_by_themselves() -> None:
    planes = np.stack([SOURCE, SOURCE[::-1]], axis=2).astype(np.float32)
    both = guided_filter(COLOUR, planes, 1, 0.1)
    np.testing.assert_array_equal(both[..., 1], guided_filter(COLOUR, planes[..., 1], 1, 0.1))


def test_a_source_linear_in_the_guide_stays() -> None:
    source = COLOUR @ [1.0, -2.0, 0.5] + 3
    np.testing.assert_allclose(guided_filter(COLOUR, source, 3, 1e-9), source, atol=1e-5)


def test_bytes_are_taken_as_zero_to_one() -> None:
    guide = (GREY * 255).astype(np.uint8)
    np.testing.assert_allclose(
        guided_filter(guide, SOURCE, 2, 0.01), guided_filter(guide / 255, SOURCE, 2, 0.01), atol=1e-6
    )
