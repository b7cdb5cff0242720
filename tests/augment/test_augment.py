"""Augment: geometry is checked on ramps, whose pixel values tell where each pixel came from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pixelwise.augment import Augment
from pixelwise.errors import DataError, UsageError
from pixelwise.sample import Clip, Sample

STILL = {
    "scale": (1.0, 1.0),
    "flip": 0.0,
    "rotate": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "blur": 0.0,
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(height: int, width: int, seed: int = 0) -> Sample:
    chance = rng(seed)
    return Sample(
        chance.integers(0, 256, (height, width, 3), np.uint8),
        chance.integers(0, 19, (height, width), np.uint8),
        instances=chance.integers(0, 100_000, (height, width), np.int32),
        weights={"border": chance.random((height, width), np.float32)},
    )


def ramp(height: int, width: int) -> Sample:
    """The image holds the (x, y) of its pixel centres; the mask, instances and weights their rank."""
    y, x = np.mgrid[:height, :width]
    rank = y * width + x
    return Sample(
        np.stack([x + 0.5, y + 0.5], axis=2).astype(np.float32),
        rank.astype(np.uint16),
        instances=rank.astype(np.int32) + 1,
        weights={"rank": rank.astype(np.float32) + 1},
    )


def source_points(sample: Sample) -> np.ndarray:
    """The H×W×2 source (x, y) of every output pixel's centre."""
    height, width = sample.size
    y, x = np.mgrid[:height, :width] + 0.5
    points = np.stack([x, y, np.ones_like(x)], axis=2)
    return (points @ np.linalg.inv(sample.meta["matrix"]).T)[..., :2]


def assert_equal(first: Sample, second: Sample) -> None:
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.mask, second.mask)
    np.testing.assert_array_equal(first.instances, second.instances)
    assert first.weights.keys() == second.weights.keys()
    for name in first.weights:
        np.testing.assert_array_equal(first.weights[name], second.weights[name])


@pytest.mark.parametrize("size", [(40, 60), (41, 37), (1, 1)])
def test_nothing_to_do_changes_no_bit(size: tuple[int, int]) -> None:
    sample = noise(*size)
    assert_equal(Augment(size, **STILL)(sample, rng()), sample)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64, bool])
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 13])
def test_rasters_of_any_type_and_depth(dtype: type, channels: int) -> None:
    image = (rng().random((30, 20, channels)) * 100).astype(dtype)
    still = Augment((30, 20), **STILL)(Sample(image), rng())
    np.testing.assert_array_equal(still.image, image)
    assert still.image.dtype == dtype and still.mask is None
    moved = Augment((16, 24), blur=1.0)(Sample(image), rng()).image
    assert moved.shape == (16, 24, channels) and moved.dtype == dtype


@pytest.mark.parametrize("flip", [{"flip": 1.0}, {"flip_vertical": 1.0}])
@pytest.mark.parametrize("size", [(40, 60), (41, 37)])
def test_flipping_twice_changes_no_bit(size: tuple[int, int], flip: dict[str, float]) -> None:
    sample = noise(*size)
    augment = Augment(size, **(STILL | flip))
    once = augment(sample, rng())
    axis = 1 if "flip" in flip else 0
    np.testing.assert_array_equal(once.image, np.flip(sample.image, axis))
    np.testing.assert_array_equal(once.mask, np.flip(sample.mask, axis))
    assert_equal(augment(once, rng()), sample)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_half_size_averages_squares_and_keeps_the_mask_aligned(flip: float) -> None:
    blocks = rng().integers(0, 9, (20, 30), np.uint8)
    mask = blocks.repeat(2, axis=0).repeat(2, axis=1)
    image = np.repeat(mask[..., None], 3, axis=2) * np.uint8(20)
    augment = Augment((20, 30), working_size=(20, 30), **(STILL | {"flip": flip}))
    half = augment(Sample(image, mask), rng())
    expected = blocks[:, ::-1] if flip else blocks
    np.testing.assert_array_equal(half.mask, expected)
    np.testing.assert_array_equal(half.image[..., 0], expected * 20)


def test_shrinking_does_not_alias() -> None:
    checkerboard = np.indices((256, 256)).sum(axis=0) % 2 * np.uint8(255)
    image = np.repeat(checkerboard.astype(np.uint8)[..., None], 3, axis=2)
    augment = Augment((60, 60), working_size=(60, 60), **STILL)
    small = augment(Sample(image), rng()).image
    assert np.abs(small.astype(int) - 127).max() <= 1


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(40, 200),
    width=st.integers(40, 200),
    out=st.tuples(st.integers(8, 120), st.integers(8, 120)),
    rotate=st.sampled_from([0.0, 10.0, 180.0]),
    fit=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_image_and_labels_come_from_the_same_place(
    height: int, width: int, out: tuple[int, int], rotate: float, fit: bool, seed: int
) -> None:
    source = ramp(height, width)
    augment = Augment(
        out,
        working_size=out if fit else None,
        scale=(0.3, 3.0),
        flip_vertical=0.5,
        rotate=rotate,
        blur=0.0,
        ignore=65535,
    )
    moved = augment(source, rng(seed))
    points = source_points(moved)
    edge = np.minimum(points, np.array([width, height]) - points).min(axis=2)
    inside, outside = edge > 0.01, edge < -0.01

    np.testing.assert_array_equal(moved.mask == 65535, ~(moved.instances > 0))
    assert (moved.mask[inside] != 65535).all() and (moved.mask[outside] == 65535).all()
    assert (moved.instances[outside] == 0).all() and (moved.weights["rank"][outside] == 0).all()
    np.testing.assert_array_equal(moved.instances[inside], moved.mask[inside].astype(int) + 1)
    np.testing.assert_array_equal(moved.weights["rank"][inside], moved.instances[inside])

    pixel = 1 / np.sqrt(abs(np.linalg.det(moved.meta["matrix"])))
    if min(height, width) < 2 * pixel:  # shrunken to a line that may pass between pixel centres
        return
    assert inside.any()  # else the crop is all padding
    row, column = np.divmod(moved.mask[inside].astype(int), width)
    labelled = np.stack([column, row], axis=1) + 0.5
    assert np.abs(labelled - points[inside]).max() <= 0.51

    # Away from the border, where mirroring bends the ramp, the image is its own coordinate.
    deep = edge > 2 * pixel + 1
    # OpenCV may round positions to 1/32 of an output pixel's footprint.
    np.testing.assert_allclose(moved.image[deep], points[deep], atol=0.01 + max(pixel, 1) / 32)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 90), width=st.integers(1, 90))
def test_masks_hold_no_invented_class(seed: int, height: int, width: int) -> None:
    sample = noise(height, width, seed)
    augment = Augment((33, 47), working_size=(33, 47), rotate=30, foreground=0.5)
    moved = augment(sample, rng(seed))
    assert moved.image.shape == (33, 47, 3) and moved.mask.shape == (33, 47)
    assert set(np.unique(moved.mask)) <= set(np.unique(sample.mask)) | {255}


def test_equal_generators_give_equal_samples() -> None:
    sample, augment = noise(50, 70), Augment((32, 32))
    assert_equal(augment(sample, rng(7)), augment(sample, rng(7)))
    assert not np.array_equal(augment(sample, rng(7)).image, augment(sample, rng(8)).image)


def test_the_source_is_left_as_it_was() -> None:
    sample, untouched = noise(50, 70), noise(50, 70)
    Augment((32, 32), blur=1.0)(sample, rng())
    assert_equal(sample, untouched)


def test_working_size_shows_the_whole_image_at_scale_one() -> None:
    sample = noise(180, 240)
    fitted = Augment((45, 60), working_size=(45, 60), **STILL)(sample, rng())
    assert not (fitted.mask == 255).any()
    letterboxed = Augment((60, 60), working_size=(60, 60), **STILL)(sample, rng())
    assert (letterboxed.mask == 255).sum() == 15 * 60


def test_an_id_that_does_not_fit_widens_the_mask() -> None:
    sample = Sample(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))
    moved = Augment((8, 8), ignore=65535, **STILL)(sample, rng())
    assert moved.mask.dtype == np.uint16 and (moved.mask == 65535).sum() == 48


def test_only_the_window_of_a_huge_image_is_read() -> None:
    rows = np.arange(200_000) // 1000
    image = np.broadcast_to(rows.astype(np.uint8)[:, None, None], (200_000, 200_000, 3))  # 120 GB if copied
    moved = Augment((64, 64), rotate=0, brightness=0, contrast=0, saturation=0, hue=0, blur=0)(
        Sample(image), rng()
    )
    y = source_points(moved)[..., 1]
    assert np.abs(moved.image[..., 0] - y // 1000).max() <= 1


def test_sides_beyond_what_opencv_addresses() -> None:
    steps = np.arange(40_000, dtype=np.uint16) // 40
    image = np.broadcast_to(steps.astype(np.float32)[None, :, None], (40, 40_000, 3))
    mask = np.broadcast_to(steps, (40, 40_000))
    moved = Augment((1, 1000), working_size=(1, 1000), ignore=65535, **STILL)(Sample(image, mask), rng())
    np.testing.assert_array_equal(moved.mask[0], np.arange(1000))
    np.testing.assert_allclose(moved.image[0, 5:-5, 0], np.arange(1000)[5:-5], atol=0.5)


def test_colour_leaves_greys_grey_labels_alone_and_rasters_unchanged() -> None:
    grey = np.repeat(rng().integers(0, 256, (40, 40, 1), np.uint8), 3, axis=2)
    mask = rng().integers(0, 5, (40, 40), np.uint8)
    vivid = STILL | {"saturation": 1.0, "hue": 0.5}
    for seed in range(5):
        moved = Augment((40, 40), **vivid)(Sample(grey, mask), rng(seed))
        assert np.abs(moved.image.astype(int) - grey).max() <= 1
        np.testing.assert_array_equal(moved.mask, mask)
    strong = STILL | {"brightness": 0.5, "contrast": 1.0, "gamma": 1.0, "saturation": 1.0, "hue": 0.5}
    elevation = rng().integers(0, 60_000, (40, 40, 3), np.uint16)
    np.testing.assert_array_equal(Augment((40, 40), **strong)(Sample(elevation), rng()).image, elevation)


def test_colour_ranges_are_reached_and_kept() -> None:
    grey = np.full((2, 2, 3), 100, np.uint8)
    augment = Augment((2, 2), **(STILL | {"brightness": 0.2}))
    values = [int(augment(Sample(grey), rng(seed)).image[0, 0, 0]) for seed in range(300)]
    assert 83 <= min(values) < 85 and 118 < max(values) <= 120


def test_dark_pictures_are_not_clipped_to_black() -> None:
    dark = np.repeat(rng().integers(10, 40, (32, 32, 1), np.uint8), 3, axis=2)
    for seed in range(30):
        moved = Augment((32, 32), **(STILL | {"brightness": 0.25, "contrast": 0.25}))(
            Sample(dark), rng(seed)
        ).image
        assert moved.min() > 0 and moved.std() > 0.6 * dark.std()


def test_saturation_and_hue_move_colours() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    for setting in ("saturation", "hue"):
        moved = Augment((2, 2), **(STILL | {setting: 0.3}))(Sample(red), rng()).image
        assert (moved != red).any()


def test_blur_smooths_the_image_only() -> None:
    sample = noise(64, 64)
    blurred = Augment((64, 64), **(STILL | {"blur": 1.0}))(sample, rng())
    assert blurred.image.std() < 0.9 * sample.image.std()
    np.testing.assert_array_equal(blurred.mask, sample.mask)


def test_foreground_brings_a_rare_class_into_view() -> None:
    mask = np.zeros((400, 500), np.uint8)
    mask[123, 45] = 7
    sample = Sample(np.zeros((400, 500, 3), np.uint8), mask)
    augment = Augment((32, 32), scale=(1, 2), foreground=1.0)
    assert all(7 in augment(sample, rng(seed)).mask for seed in range(20))


def clip_of(count: int, opened: list[int]) -> Clip:
    def frame(number: int) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            opened.append(number)
            return noise(60, 80, number).image

        return read

    base = noise(60, 80)
    return Clip(
        frames=[frame(number) for number in range(count)],
        times=[number / 25 for number in range(count)],
        masks={2: base.mask},
        instances={2: lambda: base.instances},
        meta={"split": "train"},
    )


def test_all_of_a_clip_moves_alike_and_stays_lazy() -> None:
    opened: list[int] = []
    clip = clip_of(4, opened)
    augment = Augment((32, 48), rotate=20, blur=0.5)
    moved = augment(clip, rng(3))
    assert opened == [0]  # one frame, for the size
    assert moved.times == clip.times and moved.meta["split"] == "train" and list(moved.masks) == [2]

    alone = augment(clip.frame(2), rng(3))
    assert_equal(moved.frame(2), alone)
    np.testing.assert_array_equal(moved.frame(1).image, augment(clip.frame(1), rng(3)).image)


def test_foreground_of_a_clip_follows_its_sparse_masks() -> None:
    clip = clip_of(4, [])
    mask = np.zeros((60, 80), np.uint8)
    mask[50, 70] = 3
    clip.masks = {1: mask}
    augment = Augment((16, 16), foreground=1.0, scale=(1, 2))
    assert all(3 in augment(clip, rng(seed)).frame(1).mask for seed in range(10))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_flow_still_joins_the_same_points(seed: int) -> None:
    y, x = np.mgrid[:90, :120] + 0.5
    bend, shift = np.array([[0.02, -0.03], [0.05, 0.01]]), np.array([3.0, -2.0])

    def motion(points: np.ndarray) -> np.ndarray:
        return points @ bend.T + shift

    flow = motion(np.stack([x, y], axis=2)).astype(np.float32)
    frames = [np.zeros((90, 120, 3), np.uint8)] * 2
    clip = Clip(frames=frames, times=[0, 1], flow={1: flow})
    moved = Augment((40, 40), rotate=180, flip_vertical=0.5, scale=(0.4, 2))(clip, rng(seed))
    field = moved.flow[1]()
    assert field.shape == (40, 40, 2) and field.dtype == np.float32

    matrix = moved.meta["matrix"]
    moved_frame = Sample(frames[0][:40, :40], meta={"matrix": matrix})
    here = source_points(moved_frame)
    there = here + motion(here)
    target = there @ matrix[:2, :2].T + matrix[:2, 2]
    rows, columns = np.mgrid[:40, :40] + 0.5
    edge = np.minimum(here, np.array([120, 90]) - here).min(axis=2)
    np.testing.assert_allclose(
        (field + np.stack([columns, rows], axis=2))[edge > 7], target[edge > 7], atol=0.05
    )


def test_callables_run_afterwards_in_order() -> None:
    def darken(sample: Sample) -> Sample:
        return sample.replace(image=sample.image // 2)

    def add_one(sample: Sample) -> Sample:
        return sample.replace(image=sample.image + 1)

    sample = noise(20, 20)
    moved = Augment((20, 20), then=(darken, add_one), **STILL)(sample, rng())
    np.testing.assert_array_equal(moved.image, sample.image // 2 + 1)


def test_callables_must_keep_the_size_and_return_samples() -> None:
    def crop(sample: Sample) -> Sample:
        return sample.replace(mask=sample.mask[:10])

    with pytest.raises(UsageError, match="'crop' must keep the size of 20x20 .*its mask has 10x20"):
        Augment((20, 20), then=(crop,))(noise(20, 20), rng())
    with pytest.raises(UsageError, match="must return a Sample, found ndarray"):
        Augment((20, 20), then=(lambda sample: sample.image,))(noise(20, 20), rng())
    with pytest.raises(UsageError, match="clips"):
        Augment((20, 20), then=(crop,))(clip_of(2, []), rng())


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (0, 10)},
        {"working_size": (10,)},
        {"scale": (2.0, 0.5)},
        {"scale": (0.0, 1.0)},
        {"flip": 1.5},
        {"blur": -0.1},
        {"rotate": -5.0},
        {"hue": float("nan")},
    ],
)
def test_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Augment(**({"size": (10, 10)} | wrong))


def test_image_and_mask_of_different_sizes() -> None:
    sample = Sample(np.zeros((10, 20, 3), np.uint8), np.zeros((20, 10), np.uint8), path="street.png")
    with pytest.raises(DataError, match="street.png: the image is 20x10 pixels but its mask 10x20"):
        Augment((10, 10))(sample, rng())


def test_a_mask_of_another_type() -> None:
    sample = Sample(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int64))
    with pytest.raises(DataError, match="uint8 or uint16, found int64"):
        Augment((4, 4))(sample, rng())


def test_parts_of_a_clip_with_another_size() -> None:
    clip = clip_of(2, [])
    clip.masks = {1: np.zeros((80, 60), np.uint8)}
    clip.flow = {1: np.zeros((30, 40, 2), np.float32)}
    moved = Augment((20, 20))(clip, rng())
    with pytest.raises(DataError, match="the image is 80x60 pixels but its mask 60x80"):
        moved.frame(1).mask  # noqa: B018
    with pytest.raises(DataError, match="its flow 40x30"):
        moved.flow[1]()


def test_settings_validate_in_a_pydantic_model() -> None:
    augment = TypeAdapter(Augment).validate_python({"size": [32, 48], "scale": [1, 1.5], "flip": 0})
    assert augment == Augment(size=(32, 48), scale=(1.0, 1.5), flip=0.0)
