import itertools
from collections import defaultdict

import cv2
import numpy as np
import pytest
from numba import njit

from pixelwise.errors import UsageError
from pixelwise.kernels import lattice as module
from pixelwise.kernels import vectors
from pixelwise.kernels.lattice import Lattice


def simplex(point: np.ndarray) -> dict[tuple[int, ...], float]:
    """Corners (d + 1 coordinates) around a point and their barycentric weights, in plain Python."""
    d = len(point)
    scaled = [float(x) * np.sqrt(2 / 3) * (d + 1) / np.sqrt((i + 1) * (i + 2)) for i, x in enumerate(point)]
    lifted = np.array([sum(scaled[j:]) - (j * scaled[j - 1] if j else 0) for j in range(d + 1)])
    corner = np.round(lifted / (d + 1)) * (d + 1)
    excess = round(corner.sum() / (d + 1))
    order = np.argsort(-(lifted - corner), kind="stable")
    for _ in range(abs(excess)):  # move the coordinates that are furthest off back onto the plane
        moved = order[-1] if excess > 0 else order[0]
        corner[moved] -= np.sign(excess) * (d + 1)
        order = np.argsort(-(lifted - corner), kind="stable")
    offset = (lifted - corner) / (d + 1)
    corners = {}
    for k in range(d + 1):
        vertex = corner + k
        vertex[order[d + 1 - k :]] -= d + 1
        weight = (
            offset[order[d - k]] - offset[order[d + 1 - k]] if k else 1 + offset[order[d]] - offset[order[0]]
        )
        corners[tuple(int(x) for x in vertex)] = weight
    return corners


def naive_filter(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Splat, blur and slice with a dictionary; symmetric normalisation."""
    d = features.shape[1]
    points = [simplex(point) for point in features]

    def run(v: np.ndarray) -> np.ndarray:
        table: dict[tuple[int, ...], np.ndarray] = defaultdict(lambda: np.zeros(v.shape[1]))
        for corners, value in zip(points, v, strict=True):
            for key, weight in corners.items():
                table[key] = table[key] + weight * value
        for axis in range(d + 1):
            step = np.ones(d + 1, int)
            step[axis] = -d
            table = {
                key: value
                + sum(
                    0.5 * table[near]
                    for sign in (1, -1)
                    if (near := tuple(int(x) for x in np.array(key) + sign * step)) in table
                )
                for key, value in table.items()
            }
        return np.array([sum(w * table[key] for key, w in corners.items()) for corners in points])

    scale = 1 / np.sqrt(run(np.ones((len(features), 1))))
    return scale * run(scale * values)


def gaussian_filter(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    distances = ((features[:, None] - features[None]).astype(np.float64) ** 2).sum(axis=2)
    kernel = np.exp(-distances / 2)
    scale = 1 / np.sqrt(kernel.sum(axis=1))
    return (scale[:, None] * kernel * scale) @ values


def cloud(points: int, dimensions: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.uniform(-spread, spread, (points, dimensions)).astype(np.float32)
    return features, rng.random((points, 5)).astype(np.float32)


def photo_features(height: int = 150, width: int = 160) -> np.ndarray:
    """Positions and smooth noisy colours of an image large enough for several threads."""
    rng = np.random.default_rng(1)
    colours = cv2.resize(rng.random((8, 8, 3)), (width, height)) * 8 + rng.random((height, width, 3))
    y, x = np.mgrid[:height, :width]
    return np.concatenate([np.stack([x, y], axis=2) / 10, colours], axis=2).reshape(-1, 5).astype(np.float32)


@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (5, 40), (5,)])
def test_features_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="N points by 1 to 32 dimensions"):
        Lattice([np.zeros(shape, np.float32)])


def test_numbers_of_points_that_differ() -> None:
    features, values = cloud(20, 2, 1.0)
    with pytest.raises(UsageError, match="same points, found 20, 19"):
        Lattice([features, features[1:]])
    with pytest.raises(UsageError, match="20 points by channels, found 19x5"):
        Lattice([features]).filter(values[1:])
    with pytest.raises(UsageError, match="20 points by channels, found 20"):
        Lattice([features]).filter(values[:, 0])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e7])
@pytest.mark.parametrize("place", [0, 4, 8])
def test_features_out_of_range(value: float, place: int) -> None:
    features = np.zeros((9, 2), np.float32)
    features[place, 1] = value
    with pytest.raises(UsageError, match="finite ones within a million"):
        Lattice([features])


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5, 6])
def test_equals_a_naive_lattice(dimensions: int) -> None:
    features, values = cloud(150, dimensions, 2.0)
    np.testing.assert_allclose(
        Lattice([features]).filter(values), naive_filter(features, values), rtol=2e-5, atol=2e-6
    )


@pytest.mark.parametrize(("dimensions", "tolerance"), [(1, 0.005), (2, 0.006), (3, 0.01), (5, 0.04)])
def test_is_close_to_the_exact_gaussian(dimensions: int, tolerance: float) -> None:
    features, values = cloud(600, dimensions, 2.0)
    exact = gaussian_filter(features, values)
    # The corners that few points in many dimensions leave out are missing as bridges between others.
    assert np.sqrt(np.mean((Lattice([features]).filter(values) - exact) ** 2)) < tolerance
    assert np.sqrt(np.mean((values - exact) ** 2)) > 5 * tolerance


def test_kernels_add_up_by_weight() -> None:
    features, values = cloud(200, 3, 2.0)
    apart = 3 * Lattice([features]).filter(values) + 0.5 * Lattice([features[:, :2]]).filter(values)
    together = Lattice([features, features[:, :2]], [3, 0.5]).filter(values)
    np.testing.assert_allclose(together, apart, rtol=1e-5)


def test_the_transpose_is_one() -> None:
    features, values = cloud(300, 4, 3.0)
    others = np.random.default_rng(5).random(values.shape).astype(np.float32)
    lattice = Lattice([features])
    there = (lattice.filter(values).astype(np.float64) * others).sum()
    back = (lattice.filter(others, transpose=True).astype(np.float64) * values).sum()
    assert there == pytest.approx(back, rel=1e-6)


@pytest.mark.parametrize("channels", [1, 8, 21, 24, 50])
def test_channels_do_not_mix(channels: int) -> None:
    features, _ = cloud(100, 2, 2.0)
    values = np.random.default_rng(2).random((100, channels)).astype(np.float32)
    lattice = Lattice([features])
    filtered = lattice.filter(values)
    assert filtered.shape == values.shape
    for c in range(channels):
        np.testing.assert_allclose(filtered[:, c], lattice.filter(values[:, [c]])[:, 0], rtol=1e-6)


@pytest.mark.parametrize("bands", [2, 3, 5])
def test_bands_agree(bands: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POINTS_WORTH_A_THREAD", 1000)
    monkeypatch.setattr(module, "_ROWS_WORTH_A_THREAD", 100)
    features = photo_features()
    values = np.random.default_rng(3).random((len(features), 9)).astype(np.float32)
    several = Lattice([features[:, :2], features], bands=bands)
    assert len(several.bands) == bands
    one = Lattice([features[:, :2], features], bands=1)
    np.testing.assert_allclose(several.filter(values), one.filter(values), rtol=2e-5)
    # Only corners that bands share are there more than once.
    assert one.length < several.length < 1.5 * one.length
    np.testing.assert_array_equal(several.filter(values), several.filter(values))


def test_every_row_is_marked_at_its_first_touch() -> None:
    lattice = Lattice([photo_features()], bands=1)
    marked = ~lattice.rows[lattice.rows < 0]
    np.testing.assert_array_equal(marked, np.arange(lattice.length))


def test_a_table_of_garbage_is_cleared() -> None:
    features, values = cloud(500, 3, 4.0)
    lattice = Lattice([features])
    rows = np.zeros((500, 8), np.float32)
    rows[:, :5] = values
    table = np.full(lattice.length * 8, np.nan, np.float32)
    module._splat(rows.ravel(), 8, lattice.rows, lattice.weights, 0, 500, table, 8)
    np.testing.assert_array_equal(table, lattice.splat(rows.ravel(), 8))


def test_keys_that_do_not_fit_into_an_integer() -> None:
    """Twelve dimensions of a wide range: keys are hashes."""
    features, values = cloud(60, 12, 300.0)
    features[30:] = features[:30] + 0.05
    _, strides = module._lifting(features)
    assert int(strides[1]) % 2 == 1 and int(strides[-1]) > 1 << 40
    np.testing.assert_allclose(
        Lattice([features]).filter(values), naive_filter(features, values), rtol=1e-3, atol=1e-4
    )


def test_keys_in_mixed_radix_are_unique() -> None:
    features, _ = cloud(50, 3, 3.0)
    _, strides = module._lifting(features)
    lift = np.abs(features).max() * 10
    seen = defaultdict(set)
    reach = range(-int(lift) // 2, int(lift) // 2)
    for corner in itertools.product(reach[::3], repeat=3):
        key = sum(int(s) * c for s, c in zip(strides, corner, strict=True)) % (1 << 64)
        seen[key].add(corner)
    assert max(map(len, seen.values())) == 1


@njit
def _vector_operations(a, b, out):  # type: ignore[no-untyped-def]
    x, y = vectors.load(a, 0), vectors.load(b, 2)
    results = (
        vectors.add(x, y),
        vectors.subtract(x, y),
        vectors.multiply(x, y),
        vectors.multiply_add(x, y, x),
        vectors.larger(x, y),
        vectors.exponential(x),
        vectors.broadcast(vectors.item(b, 3)),
        vectors.less(x, y),
        vectors.rounded(x),
    )
    for i in range(9):
        vectors.store(out, 8 * i, results[i])
    return vectors.total(x), vectors.largest(x)


def test_vector_operations() -> None:
    a = np.array([-80, -64.5, -2, -0.1, 0, 0.3, 5, 80], np.float32)
    b = np.arange(12, dtype=np.float32) - 5
    out = np.empty(72, np.float32)
    total, largest = _vector_operations(a, b, out)
    y = b[2:10]
    expected = [
        a + y,
        a - y,
        a * y,
        a * y + a,
        np.maximum(a, y),
        np.where(a < -64, 0, np.exp(a)),
        0 * a + b[3],
        a < y,
        np.rint(a),
    ]
    np.testing.assert_allclose(out.reshape(9, 8), expected, rtol=4e-7)
    assert total == pytest.approx(a.sum()) and largest == 80
