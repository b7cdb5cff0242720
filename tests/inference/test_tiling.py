import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.inference.tiling import blend_tiles, gaussian_window, padded_logits, tile_starts


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "expected"),
    [
        (110, 64, 0.5, [0, 23, 46]),
        (64, 64, 0.5, [0]),
        (65, 64, 0.5, [0, 1]),
        (1000, 512, 0.25, [0, 244, 488]),
    ],
)
def test_tiles_are_evenly_spread(length, tile, overlap, expected):
    assert tile_starts(length, tile, overlap) == expected


@given(length=st.integers(1, 3000), tile=st.integers(1, 700), overlap=st.floats(0, 0.9))
def test_tiles_cover_everything_and_stay_inside(length, tile, overlap):
    starts = tile_starts(length, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - tile)
    assert all(0 < later - earlier <= tile for earlier, later in zip(starts, starts[1:], strict=False))


def test_the_window_is_positive_and_highest_in_the_centre():
    window = gaussian_window(64, 33)
    assert window.shape == (64, 33)
    assert window.min() > 0
    assert window.argmax() // 33 in (31, 32)


@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    tile=st.tuples(st.integers(8, 70), st.integers(8, 70)),
)
def test_tiling_a_pixelwise_model_equals_running_it_whole(height, width, tile):
    image = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)

    def logits_of(pixels: np.ndarray) -> np.ndarray:
        return np.moveaxis(pixels.astype(np.float32), 2, 0)

    bands = list(blend_tiles(image, tile, logits_of))
    assert bands[0][0] == 0
    np.testing.assert_allclose(
        np.concatenate([band for _, band in bands], axis=1), logits_of(image), rtol=1e-4
    )


@given(
    sides=st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30)),
    tile=st.tuples(st.integers(8, 20), st.integers(8, 20), st.integers(8, 20)),
)
@settings(max_examples=20)
def test_tiling_volumes_equals_running_them_whole(sides, tile):
    volume = np.random.default_rng(sides[0]).normal(size=(*sides, 2)).astype(np.float32)

    def logits_of(voxels: np.ndarray) -> np.ndarray:
        assert voxels.shape[:3] == tuple(min(pair) for pair in zip(tile, sides, strict=True))
        return padded_logits(voxels, lambda padded: np.moveaxis(padded, 3, 0))

    bands = [band for _, band in blend_tiles(volume, tile, logits_of)]
    np.testing.assert_allclose(np.concatenate(bands, axis=1), np.moveaxis(volume, 3, 0), rtol=1e-4)


def test_tiles_of_volumes_overlap_along_every_axis():
    corners = []

    def logits_of(voxels: np.ndarray) -> np.ndarray:
        corners.append(tuple(voxels[0, 0, 0, :3]))
        return np.ones((1, *voxels.shape[:3]), np.float32)

    place = np.moveaxis(np.indices((110, 64, 65)), 0, -1)
    bands = [band for _, band in blend_tiles(place, (64, 64, 64), logits_of)]
    assert corners == [(x, 0, z) for x in (0, 23, 46) for z in (0, 1)]
    np.testing.assert_allclose(np.concatenate(bands, axis=1), 1, rtol=1e-6)
    assert gaussian_window(64, 32, 16).min() > 0
