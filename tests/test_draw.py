import numpy as np
import pytest

from pixelwise import draw
from pixelwise.errors import DataError, UsageError
from pixelwise.labels import LabelMap

LABELS = LabelMap(("sky", "road", "caf\u00e9"), ((0, 0, 200), (100, 100, 100), (250, 0, 0)))


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    mask = np.zeros((20, 30), np.uint8)
    mask[8:, :] = 1
    mask[10:15, 10:20] = 2
    mask[:, :3] = LABELS.ignore
    return rng.integers(0, 256, (20, 30, 3), dtype=np.uint8), mask


def test_overlay_mixes_colours_and_leaves_ignored_pixels_alone(scene):
    image, mask = scene
    before = image.copy()
    painted = draw.overlay(image, mask, LABELS, alpha=0.25)
    assert painted.dtype == np.uint8 and painted.shape == image.shape
    assert np.array_equal(painted[:, :3], image[:, :3])
    expected = 0.75 * image[12, 12].astype(float) + 0.25 * np.array(LABELS.colours[2])
    assert np.abs(painted[12, 12] - expected).max() <= 1
    assert np.array_equal(image, before)


def test_overlay_at_both_ends(scene):
    image, mask = scene
    assert np.array_equal(draw.overlay(image, mask, LABELS, alpha=0), image)
    full = draw.overlay(image, mask, LABELS, alpha=1)
    assert np.array_equal(full[:, 3:], draw.colourise(mask, LABELS)[:, 3:])


def test_borders_are_full_colour_and_only_where_classes_meet(scene):
    image, mask = scene
    plain, lined = (draw.overlay(image, mask, LABELS, borders=width) for width in (0, 1))
    changed = (plain != lined).any(axis=2)
    assert tuple(lined[7, 25]) == LABELS.colours[0]
    assert not changed[9, 25] and not changed[12, 15]
    thick = draw.overlay(image, mask, LABELS, borders=3)
    assert (thick != plain).any(axis=2).sum() > changed.sum()


def test_sixteen_bit_masks():
    labels = LabelMap(tuple(f"class {i}" for i in range(300)))
    picture = draw.colourise(np.array([[299, 65535]], np.uint16), labels)
    assert tuple(picture[0, 0]) == labels.colours[299] and tuple(picture[0, 1]) == (255, 255, 255)


def test_errors_are_red_and_unlabelled_pixels_dark():
    image = np.full((1, 3, 3), 128, np.uint8)
    right, wrong, ignored = draw.error_picture(image, np.array([[1, 1, 1]]), np.array([[1, 0, 255]]))[0]
    assert right[0] == right[1] == right[2] > 128
    assert wrong[0] > wrong[1] + 50
    assert ignored.max() < 64


def test_legend_shows_the_colours_and_any_alphabet():
    picture = draw.legend(LABELS, ["caf\u00e9", "sky"], height=20)
    assert picture.shape[0] == 40
    assert tuple(picture[10, 10]) == LABELS.colours[2] and tuple(picture[30, 10]) == LABELS.colours[0]
    assert draw.legend(LabelMap(("a much longer name",))).shape[1] > draw.legend(LabelMap(("a",))).shape[1]
    with pytest.raises(UsageError, match="did you mean 'road'"):
        draw.legend(LABELS, ["rod"])


def test_grid_places_pictures_of_any_size():
    small, large = np.zeros((2, 3, 3), np.uint8), np.full((4, 5, 3), 7, np.uint8)
    sheet = draw.grid([small, large, small], columns=2, gap=1)
    assert sheet.shape == (9, 11, 3)
    assert (sheet[:2, :3] == 0).all() and (sheet[:4, 6:] == 7).all() and (sheet[5:7, :3] == 0).all()
    assert (sheet[2:4, :5] == 255).all() and (sheet[:, 5] == 255).all()
    with pytest.raises(UsageError, match="at least one picture"):
        draw.grid([])


def test_mistakes_take_one_sentence(scene):
    image, mask = scene
    with pytest.raises(DataError, match="the mask holds class id 9, expected 0..2"):
        draw.colourise(np.array([[9]]), LABELS)
    with pytest.raises(DataError, match="a mask must be HxW integers, found float64"):
        draw.colourise(np.zeros((2, 2)), LABELS)
    with pytest.raises(DataError, match="the image is 20x30 but the mask is 19x30"):
        draw.overlay(image, mask[1:], LABELS)
    with pytest.raises(DataError, match="an image must be HxWx3 uint8"):
        draw.overlay(image[..., 0], mask, LABELS)
    with pytest.raises(UsageError, match=r"alpha must lie in 0\.\.1"):
        draw.overlay(image, mask, LABELS, alpha=50)
