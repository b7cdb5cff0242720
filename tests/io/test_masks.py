"""Masks: every kind of file in, ids out."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pixelwise.errors import DataError
from pixelwise.io import UnknownValuesError, mask_values, read_mask, write_mask
from pixelwise.labels import LabelMap

STREET = LabelMap(("sky", "road", "car"), ((128, 128, 128), (128, 64, 128), (64, 0, 128)))
IDS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def colour_picture(ids: np.ndarray, labels: LabelMap = STREET) -> np.ndarray:
    return labels.palette()[ids]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 400),
    shape=hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
    seed=st.integers(0, 2**32 - 1),
)
def test_write_then_read_gives_the_same_ids(
    tmp_path_factory: pytest.TempPathFactory, count: int, shape: tuple[int, int], seed: int
) -> None:
    labels = LabelMap(tuple(f"class {i}" for i in range(count)))
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, count, shape)
    mask = np.where(rng.random(shape) < 0.2, labels.ignore, ids).astype(labels.dtype)
    path = tmp_path_factory.mktemp("masks") / "a.png"
    write_mask(path, mask, labels)
    back = read_mask(path, labels)
    assert back.dtype == labels.dtype
    assert np.array_equal(back, mask)


def test_written_masks_carry_the_palette_for_viewers(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", IDS, STREET)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.array(image.convert("RGB")), colour_picture(IDS))


def test_palette_masks_give_indices_not_colours(tmp_path: Path) -> None:
    image = Image.fromarray(IDS)
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png", STREET), IDS)


def test_one_bit_masks_give_0_and_1(tmp_path: Path) -> None:
    Image.fromarray(IDS > 0).save(tmp_path / "a.png")
    mask = read_mask(tmp_path / "a.png")
    assert mask.dtype == np.uint8 and np.array_equal(mask, IDS > 0)


def test_16_bit_masks_keep_large_ids_and_shrink_when_they_can(tmp_path: Path) -> None:
    Image.fromarray(IDS.astype(np.uint16) * 300).save(tmp_path / "large.png")
    assert np.array_equal(read_mask(tmp_path / "large.png", STREET), IDS.astype(np.uint16) * 300)
    Image.fromarray(IDS.astype(np.uint16)).save(tmp_path / "small.png")
    small = read_mask(tmp_path / "small.png", STREET)
    assert small.dtype == np.uint8 and np.array_equal(small, IDS)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_])
def test_numpy_masks(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "a.npy", IDS.astype(dtype))
    assert np.array_equal(read_mask(tmp_path / "a.npy", STREET), IDS.astype(dtype))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (IDS.astype(np.float32), "must be HxW integers, found float32"),
        (np.zeros((2, 2, 3), np.uint8), r"of shape \(2, 2, 3\)"),
        (np.full((2, 2), -1), "must lie in 0..65535, found -1..-1"),
    ],
)
def test_numpy_arrays_that_are_no_masks(tmp_path: Path, array: np.ndarray, said: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=said):
        read_mask(tmp_path / "a.npy")


def test_damaged_and_missing_masks_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"a\.npy: not a NumPy array"):
        read_mask(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"b\.npy: no such mask"):
        read_mask(tmp_path / "b.npy")
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (64, 64), np.uint8)).save(buffer, "PNG")
    (tmp_path / "c.png").write_bytes(buffer.getvalue()[:300])
    with pytest.raises(DataError, match=r"c\.png: the mask is damaged"):
        read_mask(tmp_path / "c.png")


@pytest.mark.parametrize("mode", ["LA", "CMYK", "F"])
def test_modes_that_hold_no_ids_are_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.png" if mode == "LA" else "a.tif")
    Image.fromarray(IDS.astype(np.float32) if mode == "F" else IDS).convert(mode).save(path)
    with pytest.raises(DataError, match=f"found mode {mode}; save it as an 8-bit PNG"):
        read_mask(path, STREET)


class TestColours:
    def test_colours_become_ids_and_unknown_ones_are_ignored(self, tmp_path: Path) -> None:
        picture = colour_picture(IDS)
        picture[0, 0] = (1, 2, 3)
        Image.fromarray(picture).save(tmp_path / "a.png")
        expected = IDS.copy()
        expected[0, 0] = 255
        assert np.array_equal(read_mask(tmp_path / "a.png", STREET), expected)

    def test_transparency_does_not_matter(self, tmp_path: Path) -> None:
        Image.fromarray(colour_picture(IDS)).convert("RGBA").save(tmp_path / "a.png")
        assert np.array_equal(read_mask(tmp_path / "a.png", STREET), IDS)

    def test_a_mask_of_one_grey_class_is_that_class(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((2, 3, 3), 128, np.uint8)).save(tmp_path / "a.png")
        assert (read_mask(tmp_path / "a.png", STREET) == 0).all()

    def test_black_that_is_no_class_is_void(self, tmp_path: Path) -> None:
        Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / "a.png")
        assert (read_mask(tmp_path / "a.png", STREET) == 255).all()

    def test_without_a_table_the_colours_found_are_listed(self, tmp_path: Path) -> None:
        Image.fromarray(colour_picture(IDS)).save(tmp_path / "a.png")
        for labels in (None, LabelMap(("a", "b", "c"))):
            with pytest.raises(
                DataError, match=r"colours 64,0,128 .* no colour table was given; add a class"
            ):
                read_mask(tmp_path / "a.png", labels)

    def test_a_table_that_matches_nothing_is_refused(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((2, 3, 3), (9, 8, 7), np.uint8)).save(tmp_path / "a.png")
        with pytest.raises(DataError, match="none of them is in the colour table"):
            read_mask(tmp_path / "a.png", STREET)

    @pytest.mark.parametrize("labels", [None, LabelMap(("a", "b", "c"))])
    def test_ids_saved_as_a_grey_rgb_picture_are_ids(self, tmp_path: Path, labels: LabelMap | None) -> None:
        Image.fromarray(IDS).convert("RGB").save(tmp_path / "a.png")
        assert np.array_equal(read_mask(tmp_path / "a.png", labels), IDS)

    def test_mapping_applies_to_grey_values_but_not_to_colours(self, tmp_path: Path) -> None:
        Image.fromarray(np.where(IDS > 0, 255, 0).astype(np.uint8)).convert("RGB").save(tmp_path / "a.png")
        yes_no = LabelMap(("no", "yes"))
        assert np.array_equal(read_mask(tmp_path / "a.png", yes_no, {0: 0, 1: 1, 255: 1}), IDS > 0)
        Image.fromarray(colour_picture(IDS)).save(tmp_path / "b.png")
        assert np.array_equal(read_mask(tmp_path / "b.png", STREET, {0: 2, 1: 1, 2: 0}), IDS)


class TestMapping:
    def test_values_become_ids(self, tmp_path: Path) -> None:
        Image.fromarray(IDS * 10).save(tmp_path / "a.png")
        mask = read_mask(tmp_path / "a.png", STREET, {0: 0, 10: 1, 20: 2, 1: 1, 2: 2})
        assert mask.dtype == np.uint8 and np.array_equal(mask, IDS)

    def test_unknown_values_stay_to_be_named(self, tmp_path: Path) -> None:
        Image.fromarray(IDS + 7).save(tmp_path / "a.png")
        mask = read_mask(tmp_path / "a.png", STREET, {0: 0, 1: 1, 2: 2, 7: 0})
        assert mask_values(mask).tolist() == [0, 8, 9]

    def test_a_value_that_would_pass_for_another_class_is_an_error(self, tmp_path: Path) -> None:
        Image.fromarray(IDS).save(tmp_path / "a.png")
        with pytest.raises(
            UnknownValuesError, match="does not list: 0; add them to the class file"
        ) as caught:
            read_mask(tmp_path / "a.png", STREET, {1: 0, 2: 1, 3: 2})
        assert caught.value.values == (0,)

    def test_16_bit_values_become_small_ids(self, tmp_path: Path) -> None:
        Image.fromarray(IDS.astype(np.uint16) * 1000).save(tmp_path / "a.png")
        mask = read_mask(tmp_path / "a.png", STREET, {0: 0, 1000: 1, 2000: 2, 1: 1, 2: 2})
        assert mask.dtype == np.uint8 and np.array_equal(mask, IDS)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2)))
def test_mask_values_are_the_distinct_ones_in_order(mask: np.ndarray) -> None:
    assert mask_values(mask).tolist() == np.unique(mask).tolist()
