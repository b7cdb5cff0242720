import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pixelwise.errors import DataError, UsageError
from pixelwise.kernels.distance import border_weights, distance_to, signed_distances

SEEDS = st.integers(0, 2**32 - 1)


def brute_force(instances: np.ndarray, w0: float = 10, sigma: float = 5) -> np.ndarray:
    """One transform per instance."""
    ids = np.unique(instances[instances > 0])
    if len(ids) < 2:
        return np.zeros(instances.shape)
    distances = np.sort([ndimage.distance_transform_edt(instances != label) for label in ids], axis=0)
    weights = w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
    return np.where(instances == 0, weights, 0)


def draw_instances(rng: np.random.Generator, height: int, width: int, count: int) -> np.ndarray:
    """Rectangles that overlap and touch, with gaps between their ids, and some loose pixels."""
    instances = np.zeros((height, width), np.int64)
    for label in rng.permutation(np.arange(1, 5 * count + 1, 5))[:count]:
        y, x = rng.integers(0, height), rng.integers(0, width)
        instances[y : y + rng.integers(1, 8), x : x + rng.integers(1, 8)] = label
    loose = rng.random(instances.shape) < 0.01
    instances[loose] = rng.integers(0, 5 * count + 2, loose.sum())
    return instances


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    count=st.integers(0, 12),
    sigma=st.sampled_from([0.5, 5, 40]),
    dtype=st.sampled_from([np.int32, np.int64, np.uint16, np.uint8]),
    layout=st.sampled_from(["plain", "transposed", "flipped", "strided"]),
    seed=SEEDS,
)
def test_border_weights_equal_a_loop_of_transforms(height, width, count, sigma, dtype, layout, seed):
    instances = draw_instances(np.random.default_rng(seed), height, width, count).astype(dtype)
    if layout == "transposed":
        instances = instances.T
    elif layout == "flipped":
        instances = instances[::-1, ::-1]
    elif layout == "strided":
        instances = instances.repeat(2, axis=1)[:, ::2]
    before = instances.copy()
    weights = border_weights(instances, 10, sigma)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, brute_force(instances, 10, sigma), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(instances, before)


def test_border_weights_on_several_threads_equal_a_loop_of_transforms():
    instances = draw_instances(np.random.default_rng(0), 300, 410, 60)
    np.testing.assert_allclose(border_weights(instances), brute_force(instances), rtol=0, atol=1e-5)


def test_border_weights_do_not_depend_on_the_threads():
    instances = draw_instances(np.random.default_rng(1), 300, 410, 60)
    before = cv2.getNumThreads()
    try:
        found = []
        for threads in (1, 3):
            cv2.setNumThreads(threads)
            found.append(border_weights(instances))
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(*found)


def test_a_gap_has_the_weight_of_the_paper():
    weights = border_weights(np.array([[4, 0, 0, 9]]))
    # In the first pixel of the gap the nearest two are 1 and 2 away.
    np.testing.assert_allclose(weights[0], [0, *[10 * np.exp(-9 / 50)] * 2, 0], rtol=1e-6)


def test_fewer_than_two_instances_have_no_border():
    for instances in (np.zeros((5, 6), int), np.eye(5, dtype=int), np.zeros((0, 3), int)):
        assert not border_weights(instances).any()
    assert border_weights(np.zeros((0, 3), int)).shape == (0, 3)


def test_the_largest_ids_are_told_apart():
    weights = border_weights(np.array([[2**31 - 1, 0, 2**31 - 2]]))
    assert weights[0, 1] == pytest.approx(10 * np.exp(-4 / 50))


def test_ignored_pixels_get_nothing_and_belong_to_no_instance():
    instances = draw_instances(np.random.default_rng(2), 40, 50, 8)
    ignored = np.random.default_rng(3).random(instances.shape) < 0.3
    expected = brute_force(np.where(ignored, 0, instances))
    weights = border_weights(instances, ignored=ignored)
    np.testing.assert_allclose(weights, np.where(ignored, 0, expected), rtol=0, atol=1e-5)


def test_wide_borders_reach_far():
    instances = np.zeros((3, 900), int)
    instances[1, 0], instances[1, -1] = 1, 2
    expected = brute_force(instances, 1000, 1000)
    np.testing.assert_allclose(border_weights(instances, 1000, 1000), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"instances": np.zeros((2, 2))}, DataError, "instance ids are integers, found float64"),
        ({"instances": np.full((2, 2), -1)}, DataError, "lie in 0..2.31-1, found -1..-1"),
        ({"instances": np.full((2, 2), 2**31)}, DataError, "found 2147483648"),
        ({"instances": np.zeros((2, 2, 1), int)}, UsageError, "H×W of equal size"),
        ({"ignored": np.zeros((2, 3), bool)}, UsageError, "H×W of equal size"),
        ({"sigma": 0}, UsageError, "sigma above 0"),
        ({"w0": -1}, UsageError, "w0 lies in 0..1000"),
        ({"w0": np.nan}, UsageError, "w0 lies in 0..1000"),
    ],
)
def test_bad_input_of_border_weights_is_explained(arguments, error, message):
    with pytest.raises(error, match=message):
        border_weights(**({"instances": np.zeros((2, 2), int)} | arguments))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 50), st.integers(1, 50)),
        st.tuples(st.integers(1, 8), st.integers(1, 9), st.integers(1, 10)),
    ),
    share=st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]),
    spaced=st.booleans(),
    seed=SEEDS,
)
def test_distance_to_is_scipys(shape, share, spaced, seed):
    points = np.random.default_rng(seed).random(shape) < share
    spacing = (3.0, 0.5, 1.0)[: len(shape)] if spaced else None
    distances = distance_to(points, spacing)
    assert distances.dtype == np.float32
    if points.any():
        expected = ndimage.distance_transform_edt(~points, spacing)
        np.testing.assert_allclose(distances, expected, rtol=1e-6)
    else:
        assert np.isinf(distances).all()


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(1, 1, 1), (3, 20, 30), (2, 4, 6, 5)]),
    share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    ignored=st.sampled_from([0.0, 0.4, 1.0]),
    seed=SEEDS,
)
def test_signed_distances_are_to_the_nearest_valid_pixel_of_the_other_side(shape, share, ignored, seed):
    rng = np.random.default_rng(seed)
    regions, valid = rng.random(shape) < share, rng.random(shape) >= ignored
    for region, ok, found in zip(regions, valid, signed_distances(regions, valid), strict=True):
        sides = [np.argwhere(side & ok) for side in (region, ~region)]
        for pixel in np.ndindex(region.shape):
            other = sides[1] if region[pixel] else sides[0]
            expected = 0.0
            if ok[pixel] and len(other):
                expected = np.linalg.norm(other - pixel, axis=1).min()
            assert found[pixel] == pytest.approx(-expected if region[pixel] else expected, rel=1e-6)


def test_signed_distances_on_several_threads():
    regions = np.random.default_rng(0).random((5, 200, 200)) < 0.01
    alone = np.concatenate([signed_distances(region[None]) for region in regions])
    np.testing.assert_array_equal(signed_distances(regions), alone)
