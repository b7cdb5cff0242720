from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from pixelwise.errors import DataError, UsageError
from pixelwise.labels import LabelMap
from pixelwise.refine import clean


def drawn(text: str) -> np.ndarray:
    """A mask from rows of digits; ``x`` is ignored."""
    return np.array([[255 if c == "x" else int(c) for c in row] for row in text.split()], np.uint8)


@pytest.mark.parametrize("mask", [np.zeros((4, 4)), np.zeros(4, int), np.zeros((4, 4), bool)])
def test_bad_masks(mask: np.ndarray) -> None:
    with pytest.raises(DataError, match="a mask must be HxW or ZxYxX integers"):
        clean(mask)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_area": -1}, "min_area is a number of pixels"),
        ({"fill_holes": {1: -4}}, "fill_holes is a number of pixels"),
        ({"connectivity": 6}, "connectivity must be 4 or 8"),
        ({"min_area": {"kar": 3}, "labels": LabelMap(("road", "car"))}, "did you mean 'car'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        clean(drawn("00 01"), **options)


def test_nothing_is_asked_for() -> None:
    mask = drawn("0120 3x01")
    cleaned = clean(mask)
    np.testing.assert_array_equal(cleaned, mask)
    assert cleaned is not mask


def test_specks_take_the_nearest_class_that_stays() -> None:
    mask = drawn("00000222 01102322 00000222")
    np.testing.assert_array_equal(clean(mask, min_area=3), drawn("00000222 00002222 00000222"))
    np.testing.assert_array_equal(clean(mask, min_area=2), drawn("00000222 01102222 00000222"))


def test_two_specks_side_by_side_do_not_keep_each_other() -> None:
    np.testing.assert_array_equal(clean(drawn("0000 0120 0000"), min_area=2), drawn("0000 0000 0000"))


def test_a_mask_of_specks_stays() -> None:
    np.testing.assert_array_equal(clean(drawn("01 23"), min_area=2), drawn("01 23"))


def test_areas_by_class() -> None:
    mask = drawn("00000 01020 00000")
    labels = LabelMap(("road", "car", "tree"))
    expected = drawn("00000 00020 00000")
    np.testing.assert_array_equal(clean(mask, labels, min_area={"car": 5}), expected)
    np.testing.assert_array_equal(clean(mask, min_area={1: 5}), expected)


@pytest.mark.parametrize(("connectivity", "left"), [(4, 0), (8, 2)])
def test_connectivity(connectivity: int, left: int) -> None:
    cleaned = clean(drawn("0000 0100 0010 0000"), min_area=2, connectivity=connectivity)
    assert (cleaned == 1).sum() == left


def test_ignored_pixels_neither_change_nor_give() -> None:
    mask = drawn("xxxxx xx1xx xxxxx 00000")
    np.testing.assert_array_equal(clean(mask, min_area=2), drawn("xxxxx xx0xx xxxxx 00000"))
    labels = LabelMap(("a", "b"), ignore=0)
    np.testing.assert_array_equal(clean(drawn("00011 00000"), labels, min_area=5), drawn("00011 00000"))


def test_holes_close_up_to_their_size() -> None:
    mask = drawn("111111 101001 111111 222222")
    np.testing.assert_array_equal(clean(mask, fill_holes=1), drawn("111111 111001 111111 222222"))
    np.testing.assert_array_equal(clean(mask, fill_holes=2), drawn("111111 111111 111111 222222"))
    np.testing.assert_array_equal(clean(mask, fill_holes={2: 9}), mask)


def test_what_touches_the_border_or_holds_ignored_pixels_is_no_hole() -> None:
    for text in ("1110 1111 1111", "1111 1x01 1111"):
        np.testing.assert_array_equal(clean(drawn(text), fill_holes=99), drawn(text))


def test_a_hole_may_hold_other_classes() -> None:
    mask = drawn("11111 12301 12221 11111")
    np.testing.assert_array_equal(clean(mask, fill_holes=6), drawn("11111 11111 11111 11111"))
    np.testing.assert_array_equal(clean(mask, fill_holes=5), mask)


def test_a_hole_leaks_through_a_corner() -> None:
    mask = drawn("00100 01010 00100 00000")
    np.testing.assert_array_equal(clean(mask, fill_holes=1), mask)
    np.testing.assert_array_equal(clean(mask, fill_holes=1, connectivity=4), mask)


def test_volumes() -> None:
    volume = np.zeros((5, 6, 7), np.int32)
    volume[1:4, 1:4, 1:4] = 1
    volume[2, 2, 2] = 0
    volume[4, 5, 6] = 2
    cleaned = clean(volume, min_area=2, fill_holes=1)
    assert (cleaned == 1).sum() == 27 and (cleaned == 2).sum() == 0 and cleaned.dtype == np.int32


def test_no_small_component_is_left_in_a_random_mask() -> None:
    """Against scipy: each speck's pixels took the class of a kept pixel at the least distance."""
    mask = np.random.default_rng(0).integers(0, 3, (40, 50)).astype(np.uint8)
    mask[:20] = np.maximum(mask[:20], 1)
    cleaned = clean(mask, min_area=30)
    stays = np.zeros(mask.shape, bool)
    for i in range(3):
        components, count = ndimage.label(mask == i, np.ones((3, 3)))
        areas = np.bincount(components.ravel(), minlength=count + 1)
        stays |= (areas[components] >= 30) & (mask == i)
    assert 0.02 < (~stays).mean() < 0.9
    np.testing.assert_array_equal(cleaned[stays], mask[stays])
    distance = ndimage.distance_transform_edt(~stays)
    for y, x in np.argwhere(~stays):
        same = np.argwhere(stays & (mask == cleaned[y, x]))
        assert np.hypot(*(same - (y, x)).T).min() == pytest.approx(distance[y, x])
