import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.augment import PatchSampler
from pixelwise.errors import UsageError
from pixelwise.sample import Sample


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(20, 90), width=st.integers(20, 90))
def test_a_window_is_a_piece_of_image_and_mask(seed: int, height: int, width: int) -> None:
    rank = np.arange(height * width, dtype=np.uint16).reshape(height, width)
    sample = Sample(np.repeat(rank[..., None], 3, axis=2), rank, weights={"border": rank.astype(np.float32)})
    window = PatchSampler((16, 20), foreground=0.5, ignore=65535)(sample, rng(seed))
    top, left = divmod(int(window.mask[0, 0]), width)
    np.testing.assert_array_equal(window.mask, rank[top : top + 16, left : left + 20])
    np.testing.assert_array_equal(window.image[..., 2], window.mask)
    np.testing.assert_array_equal(window.weights["border"], window.mask)


def test_a_smaller_image_lies_inside_the_window() -> None:
    sample = Sample(np.ones((10, 50, 3), np.uint8), np.ones((10, 50), np.uint8))
    for seed in range(20):
        window = PatchSampler((32, 32))(sample, rng(seed))
        assert (window.mask == 1).sum() == 10 * 32 and (window.mask == 255).sum() == 22 * 32
        assert (window.image == 1).all()  # mirrored


def test_every_position_is_reached_without_foreground() -> None:
    sampler = PatchSampler((4, 4), foreground=0.0)
    image = np.repeat(np.arange(6, dtype=np.uint8)[None, :, None], 6, axis=0).repeat(3, axis=2)
    lefts = {int(sampler(Sample(image), rng(seed)).image[0, 0, 0]) for seed in range(60)}
    assert lefts == {0, 1, 2}


def test_rarer_classes_are_equally_likely_whatever_their_area() -> None:
    mask = np.zeros((300, 300), np.uint8)
    mask[100:200, 100:200] = 1
    mask[50, 250] = 2
    mask[200:, :50] = 255
    sampler = PatchSampler((8, 8), foreground=1.0)
    chance = rng()
    found = []
    for _ in range(400):
        x, y = sampler.centre((300, 300), chance, mask)
        found.append(int(mask[int(y), int(x)]))
    assert set(found) == {1, 2}
    assert 150 < found.count(2) < 250


def test_the_share_of_foreground_is_kept() -> None:
    mask = np.zeros((1000, 1000), np.uint16)
    mask[500, 500] = 300
    sampler, chance = PatchSampler((8, 8), foreground=0.25, ignore=65535), rng()
    hits = sum(sampler.centre((1000, 1000), chance, mask) == (500.5, 500.5) for _ in range(400))
    assert 65 < hits < 140


def test_windows_at_the_edge_stay_inside() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[0, 99] = 1
    assert PatchSampler((20, 30), foreground=1.0).centre((100, 100), rng(), mask) == (85.0, 10.0)


def test_one_class_only_is_sampled_uniformly() -> None:
    sampler, mask = PatchSampler((10, 10), foreground=1.0), np.full((100, 100), 4, np.uint8)
    mask[:50] = 255
    centres = {sampler.centre((100, 100), rng(seed), mask) for seed in range(10)}
    assert len(centres) == 10


def test_pixels_are_found_beyond_the_first_block_of_a_large_mask() -> None:
    mask = np.zeros((3000, 3000), np.uint8)
    mask[2999, 1234] = 9
    assert PatchSampler((2, 2), foreground=1.0).centre((3000, 3000), rng(), mask) == (1234.5, 2999.0)


@pytest.mark.parametrize("wrong", [{"size": (0, 4)}, {"size": (4, 4), "foreground": 1.1}])
def test_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        PatchSampler(**wrong)
