import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from pixelwise.errors import DataError, UsageError
from pixelwise.metrics import (
    average_surface_distance,
    class_surface_distances,
    hausdorff,
    normalised_surface_distance,
    surface_distances,
)

SPACINGS = {2: ((1.0, 1.0), (0.3, 2.0), (3.0, 0.5)), 3: ((1.0, 1.0, 1.0), (5.0, 0.7, 0.7), (0.3, 2.0, 4.0))}
BRIEF = settings(deadline=None, max_examples=60)  # the first call compiles


def edge_oracle(mask):
    return mask & ~ndimage.binary_erosion(mask)


def distance_oracle(a, b, spacing, edges=edge_oracle):
    """Sorted distances from a's edge to b's and back, by distance transforms of the whole image."""
    a, b = edges(a), edges(b)
    there, back = (ndimage.distance_transform_edt(~mask, spacing) for mask in (b, a))
    return np.sort(there[a]), np.sort(back[b])


def ball(shape, centre, radii):
    grid = np.indices(shape)
    return sum(((grid[i] - centre[i]) / radii[i]) ** 2 for i in range(len(shape))) < 1


def speckles(shape, seed, sigma=1.5):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), sigma)
    return noise > np.median(noise)


OVERLAP = ball((30, 40, 50), (15, 20, 25), (10, 12, 15)), ball((30, 40, 50), (16, 18, 27), (9, 13, 14))
FAR = ball((40, 30, 90), (10, 10, 12), (8, 9, 10)), ball((40, 30, 90), (30, 20, 80), (8, 7, 6))
INSIDE = ball((50, 50, 90), (25, 25, 45), (22, 23, 43)), ball((50, 50, 90), (24, 25, 46), (2, 3, 2))
CORNER = np.zeros((90, 400), bool)
CORNER[0, 0] = True
PAIRS = {
    "overlapping balls": OVERLAP,
    "far apart": FAR,
    "one inside": INSIDE,
    "speckles": (speckles((12, 20, 30), 0), speckles((12, 20, 30), 1)),
    "to the image's end": (np.ones((4, 5, 6), bool), speckles((4, 5, 6), 2)),
    "one plane": (speckles((1, 30, 70), 3), speckles((1, 30, 70), 4)),
    "discs": (ball((200, 300), (90, 150), (60, 80)), ball((200, 300), (100, 140), (70, 60))),
    "discs far apart": (ball((200, 300), (40, 40), (20, 30)), ball((200, 300), (150, 250), (40, 30))),
    "opposite corners": (CORNER, ball((90, 400), (80, 390), (5, 5))),
    "disc in a disc": (ball((300, 300), (150, 150), (140, 145)), ball((300, 300), (150, 160), (3, 2))),
    "image speckles": (speckles((90, 130), 5), speckles((90, 130), 6)),
    "one row": (speckles((1, 200), 7), speckles((1, 200), 8)),
    "one column": (speckles((200, 1), 7), speckles((200, 1), 8)),
}
ALL_PAIRS = pytest.mark.parametrize(("a", "b"), PAIRS.values(), ids=PAIRS)
PEER_PAIRS = pytest.mark.parametrize(
    "name", ["overlapping balls", "far apart", "speckles", "discs", "one row"]
)


# Bad input


def test_masks_that_do_not_fit():
    mask = np.zeros((4, 5), bool)
    with pytest.raises(DataError, match="the prediction is 4x5 but the target is 5x4: give both one size"):
        surface_distances(mask, mask.T)
    with pytest.raises(DataError, match="prediction and target are 5, expected 2 or 3 dimensions"):
        surface_distances(mask[0], mask[0])
    with pytest.raises(DataError, match="are 1x1x4x5, expected 2 or 3 dimensions"):
        hausdorff(mask[None, None], mask[None, None])


@pytest.mark.parametrize("odd", [np.nan, 0.5, 1.0])
def test_floats_are_no_masks(odd):
    mask = np.zeros((4, 5), bool)
    with pytest.raises(DataError, match="the target must be a mask of booleans, or of 0 and 1, but is float"):
        hausdorff(mask, np.full((4, 5), odd))


@pytest.mark.parametrize("value", [2, 255, -1])
def test_label_maps_are_no_masks(value):
    mask = np.zeros((4, 5), np.int16)
    mask[1, 1] = value
    with pytest.raises(DataError, match=f"the prediction must be .* but a value is {value}; pick a class"):
        average_surface_distance(mask, np.zeros((4, 5), bool))


@pytest.mark.parametrize(
    ("spacing", "message"),
    [
        ((1.0,), "needs 2 numbers for masks of 2 dimensions, got 1"),
        ((1, 1, 1), "needs 2 numbers for masks of 2 dimensions, got 3"),
        ((1, 0), "must be positive and finite"),
        ((1, -1), "must be positive and finite"),
        ((np.nan, 1), "must be positive and finite"),
        ((np.inf, 1), "must be positive and finite"),
        (2.0, "one number for each axis"),
        (("a", 1), "one number for each axis"),
    ],
)
def test_bad_spacing(spacing, message):
    mask = np.ones((4, 5), bool)
    with pytest.raises(UsageError, match=message):
        surface_distances(mask, mask, spacing)
    with pytest.raises(UsageError, match=message):
        class_surface_distances(mask, mask, 2, spacing=spacing)


def test_bad_options():
    mask = np.ones((4, 5), bool)
    with pytest.raises(UsageError, match="unknown mode of surface distances"):
        surface_distances(mask, mask, mode="surfels")
    for percentile in (-1, 100.5, np.nan):
        with pytest.raises(UsageError, match=r"a percentile lies in 0\.\.100"):
            hausdorff(mask, mask, percentile)
    for tolerance in (-0.1, np.inf, np.nan):
        with pytest.raises(UsageError, match="a tolerance is a finite distance of at least 0"):
            normalised_surface_distance(mask, mask, tolerance)


def test_bad_label_maps():
    labels = np.zeros((4, 5), np.uint8)
    with pytest.raises(DataError, match="the prediction holds class id 3, expected 0..1"):
        class_surface_distances(labels + 3, labels, 2)
    with pytest.raises(DataError, match="the target must hold integer class ids but is float64"):
        class_surface_distances(labels, labels * 1.0, 2)
    with pytest.raises(UsageError, match="take 1 to 65535 classes"):
        class_surface_distances(labels, labels, 0)


# Empty masks


@pytest.mark.parametrize("mode", ["voxels", "area"])
@pytest.mark.parametrize("shape", [(6, 7), (3, 6, 7), (0, 4), (0, 2, 3)])
def test_two_empty_masks_agree(shape, mode):
    found = surface_distances(np.zeros(shape, bool), np.zeros(shape, bool), mode=mode)
    assert found.hausdorff(95) == found.hausdorff(100) == found.average() == 0
    assert found.average_to_target() == found.average_to_prediction() == 0
    assert found.normalised(0) == found.normalised(3) == 1


@pytest.mark.parametrize("mode", ["voxels", "area"])
@pytest.mark.parametrize("shape", [(6, 7), (3, 6, 7)])
def test_an_empty_mask_is_infinitely_far(shape, mode):
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    for pair in ((empty, full), (full, empty)):
        found = surface_distances(*pair, mode=mode)
        assert found.hausdorff(0) == found.hausdorff(100) == found.average() == np.inf
        assert found.average_to_target() == found.average_to_prediction() == np.inf
        assert found.normalised(1000) == 0


# Values


@ALL_PAIRS
def test_voxels_equal_distance_transforms(a, b):
    for spacing in SPACINGS[a.ndim]:
        found, expected = surface_distances(a, b, spacing), distance_oracle(a, b, spacing)
        np.testing.assert_allclose(found.to_target, expected[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.to_prediction, expected[1], rtol=0, atol=1e-9)
        for percentile in (0, 50, 95, 99.9, 100):
            value = max(np.percentile(side, percentile) for side in expected)
            assert found.hausdorff(percentile) == pytest.approx(value, abs=1e-9)
        assert found.average_to_target() == pytest.approx(expected[0].mean(), abs=1e-9)
        assert found.average_to_prediction() == pytest.approx(expected[1].mean(), abs=1e-9)
        assert found.average() == pytest.approx(np.concatenate(expected).mean(), abs=1e-9)
        tolerance = 1.01 * spacing[0]
        within = np.mean(np.concatenate(expected) <= tolerance)
        assert found.normalised(tolerance) == pytest.approx(within, abs=1e-12)


@BRIEF
@given(st.data(), st.sampled_from([(7, 9), (3, 5, 6), (2, 1, 70)]))
def test_any_masks_equal_distance_transforms(data, shape):
    a, b = (data.draw(arrays(bool, shape)) for _ in range(2))
    if not (a.any() and b.any()):
        return
    spacing = data.draw(st.tuples(*[st.sampled_from([0.25, 1.0, 3.0, 40.0])] * len(shape)))
    found, expected = surface_distances(a, b, spacing), distance_oracle(a, b, spacing)
    np.testing.assert_allclose(found.to_target, expected[0], rtol=1e-12)
    np.testing.assert_allclose(found.to_prediction, expected[1], rtol=1e-12)


def test_values_by_hand():
    a, b = np.zeros((2, 10, 12), bool)
    a[2:8, 2:8] = True
    b[2:8, 4:10] = True  # two columns to the right
    assert hausdorff(a, b, percentile=100) == 2
    assert hausdorff(a, b, percentile=100, spacing=(1, 3)) == 6
    # of 20 edge voxels, 4 + 2 x 2 in the columns outside of b are 2 and 1 away, four inside 2, 1, 1, 2
    lengths = [2] * 6 + [1] * 2 + [0] * 8 + [2, 1, 1, 2]
    assert average_surface_distance(a, b) == pytest.approx(np.mean(lengths))
    assert average_surface_distance(a, b, symmetric=False) == pytest.approx(np.mean(lengths))
    assert normalised_surface_distance(a, b, tolerance=1) == pytest.approx(np.mean(np.array(lengths) <= 1))


def test_areas_of_a_box():
    """A box of 2 x 3 x 4 voxels: six faces, twelve edges and eight corners that are cut."""
    box = np.zeros((6, 7, 8), bool)
    box[2:4, 2:5, 2:6] = True
    found = surface_distances(box, box, mode="area")
    faces = 2 * (1 * 2 + 1 * 3 + 2 * 3)
    edges = 4 * (1 + 2 + 3) * np.sqrt(0.5)
    corners = 8 * np.sqrt(3) / 8
    assert found.target_areas.sum() == pytest.approx(faces + edges + corners)
    assert found.prediction_areas.sum() == pytest.approx(faces + edges + corners)
    assert found.hausdorff(100) == 0 and found.normalised(0) == 1


def test_lengths_of_a_rectangle():
    box = np.zeros((5, 9), bool)
    box[1:3, 1:6] = True
    found = surface_distances(box, box, spacing=(2, 3), mode="area")
    assert found.target_areas.sum() == pytest.approx(2 * (1 * 2 + 4 * 3) + 4 * np.hypot(2, 3) / 2)


def test_area_percentiles_weigh_by_length():
    """Two long sides at distance 2, two short ones at 0 or 3: three quarters of the length are within 2."""
    a, b = np.zeros((2, 40, 20), bool)
    a[10:30, 5:15] = True
    b[12:28, 5:15] = True
    found = surface_distances(a, b, mode="area")
    order = np.argsort(found.to_target)
    shares = np.cumsum(found.prediction_areas[order]) / found.prediction_areas.sum()
    assert found.hausdorff(50) == 0
    assert found.hausdorff(100) == 2
    assert found.hausdorff(95) == found.to_target[order][np.searchsorted(shares, 0.95)]


def test_rounding_of_the_spacing_decides_nothing():
    a, b = np.zeros((2, 1, 9), bool)
    a[0, 0], b[0, 3] = True, True
    assert normalised_surface_distance(a, b, tolerance=0.3, spacing=(0.1, 0.1)) == 1
    assert normalised_surface_distance(a, b, tolerance=0.2999, spacing=(0.1, 0.1)) == 0


def test_any_memory_order_and_type():
    a, b = PAIRS["speckles"]
    spacing = (5.0, 0.7, 1.0)
    expected = surface_distances(a, b, spacing)
    for first, second in (
        (np.asfortranarray(a), np.asfortranarray(b)),
        (np.asfortranarray(a), b),
        (a.astype(np.int64), b.astype(np.uint8)),
        (a.repeat(2, axis=2)[..., ::2], b[::-1][::-1]),
    ):
        found = surface_distances(first, second, spacing)
        np.testing.assert_allclose(found.to_target, expected.to_target, rtol=1e-12)
        np.testing.assert_allclose(found.to_prediction, expected.to_prediction, rtol=1e-12)


# Properties


@st.composite
def mask_pairs(draw):
    shape = draw(st.sampled_from([(8, 9), (4, 5, 6)]))
    return draw(arrays(bool, shape)), draw(arrays(bool, shape))


NUMBERS = {
    "hausdorff": lambda found: found.hausdorff(95),
    "maximum": lambda found: found.hausdorff(100),
    "average": lambda found: found.average(),
    "normalised": lambda found: found.normalised(1.5),
}
MODES = st.sampled_from(["voxels", "area"])


def robust_numbers(mode):
    """Those that rounding does not decide: a percentile by area jumps where a share is met exactly."""
    return {name: number for name, number in NUMBERS.items() if mode == "voxels" or name != "hausdorff"}


@BRIEF
@given(mask_pairs(), MODES)
def test_symmetry(pair, mode):
    one, other = surface_distances(*pair, mode=mode), surface_distances(*pair[::-1], mode=mode)
    for number in NUMBERS.values():
        assert number(one) == pytest.approx(number(other))
    assert one.average_to_target() == pytest.approx(other.average_to_prediction())


@BRIEF
@given(mask_pairs(), MODES)
def test_a_mask_agrees_with_itself(pair, mode):
    found = surface_distances(pair[0], pair[0], mode=mode)
    assert found.hausdorff(100) == found.average() == 0
    assert found.normalised(0) == 1


@BRIEF
@given(mask_pairs(), MODES, st.integers(0, 9))
def test_moving_both_masks_changes_nothing(pair, mode, shift):
    padded = [np.pad(mask, 1) for mask in pair]
    moved = [np.pad(mask, ((shift, 2),) * mask.ndim) for mask in padded]
    one, other = surface_distances(*padded, mode=mode), surface_distances(*moved, mode=mode)
    for number in NUMBERS.values():
        assert number(one) == pytest.approx(number(other))


@BRIEF
@given(mask_pairs(), MODES, st.sampled_from([0.125, 0.7, 30.0]))
def test_spacing_scales_distances(pair, mode, scale):
    spacing = (1.0, 0.5, 2.0)[: pair[0].ndim]
    one = surface_distances(*pair, spacing, mode=mode)
    other = surface_distances(*pair, [side * scale for side in spacing], mode=mode)
    for name, number in robust_numbers(mode).items():
        if name != "normalised":
            assert number(other) == pytest.approx(scale * number(one))
    assert other.normalised(1.2 * scale) == pytest.approx(one.normalised(1.2))


@BRIEF
@given(mask_pairs(), MODES)
def test_turning_both_masks_changes_nothing(pair, mode):
    spacing = (1.0, 0.5, 2.0)[: pair[0].ndim]
    one = surface_distances(*pair, spacing, mode=mode)
    turned = [mask.swapaxes(0, 1)[:, ::-1] for mask in pair]
    other = surface_distances(*turned, (spacing[1], spacing[0], *spacing[2:]), mode=mode)
    for number in robust_numbers(mode).values():
        assert number(one) == pytest.approx(number(other))


# Label maps


def test_classes_equal_their_masks():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 3, (2, 5, 6)).repeat(5, axis=1).repeat(7, axis=2)
    for spacing in SPACINGS[2]:
        found = class_surface_distances(blocks[0], blocks[1], 5, spacing=spacing)
        assert found[3] is None and found[4] is None
        for number in range(3):
            expected = distance_oracle(blocks[0] == number, blocks[1] == number, spacing)
            np.testing.assert_allclose(found[number].to_target, expected[0], rtol=1e-12)
            np.testing.assert_allclose(found[number].to_prediction, expected[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("ignore_index", "dtype"),
    [(255, np.uint8), (2, np.uint8), (255, np.int64), (2, np.int64), (-1, np.int64)],
)
def test_ignored_pixels_are_on_neither_side(ignore_index, dtype):
    """An oracle by hand: an edge pixel is valid and has a valid neighbour of another class, or the border."""
    rng = np.random.default_rng(1)
    prediction, target = rng.integers(0, 2, (2, 6, 7)).repeat(4, axis=1).repeat(4, axis=2).astype(dtype)
    target[5:9, 3:20] = ignore_index
    prediction[6, 6] = 77  # may be anything here
    valid = target != ignore_index

    def edges(mask):
        around = np.pad(mask | ~valid, 1)
        inner = around[1:-1, 2:] & around[1:-1, :-2] & around[2:, 1:-1] & around[:-2, 1:-1]
        return mask & valid & ~inner

    found = class_surface_distances(np.asfortranarray(prediction), target, 3, ignore_index)
    assert found[2] is None
    for number in (0, 1):
        expected = distance_oracle(prediction == number, target == number, None, edges)
        np.testing.assert_allclose(found[number].to_target, expected[0], rtol=1e-12)
        np.testing.assert_allclose(found[number].to_prediction, expected[1], rtol=1e-12)


def test_more_classes_than_a_byte_holds():
    labels = np.arange(300).reshape(20, 15)
    found = class_surface_distances(labels, labels, 300, ignore_index=-1)
    assert [item.hausdorff(100) for item in found] == [0] * 300


def test_volumes_of_classes_with_area():
    target = np.zeros((6, 8, 8), np.uint8)
    target[1:5, 1:5, 2:7] = 1
    prediction = np.roll(target, 1, axis=2)
    for number, found in enumerate(class_surface_distances(prediction, target, 2, mode="area")):
        expected = surface_distances(prediction == number, target == number, mode="area")
        assert found.average() == expected.average() > 0
    target[0] = 255  # corners with an ignored voxel are no surface
    ignored = class_surface_distances(prediction, target, 2, mode="area")[1]
    assert (
        0
        < len(ignored.to_target)
        < len(surface_distances(prediction == 1, target == 1, mode="area").to_target)
    )


# Peers, where they are installed


@pytest.mark.filterwarnings("ignore::FutureWarning:monai")
@PEER_PAIRS
def test_voxels_equal_monai(name):
    a, b = PAIRS[name]
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    first, second = (torch.from_numpy(mask.copy())[None, None] for mask in (a, b))
    for spacing in SPACINGS[a.ndim]:
        found = surface_distances(a, b, spacing)
        options = {"include_background": True, "spacing": spacing}
        for percentile in (50, 95, None):
            value = metrics.compute_hausdorff_distance(first, second, percentile=percentile, **options)
            assert found.hausdorff(percentile or 100) == pytest.approx(float(value), rel=1e-5)
        value = metrics.compute_average_surface_distance(first, second, **options)
        assert found.average_to_target() == pytest.approx(float(value), rel=1e-5)
        value = metrics.compute_average_surface_distance(first, second, symmetric=True, **options)
        assert found.average() == pytest.approx(float(value), rel=1e-5)
        value = metrics.compute_surface_dice(first, second, [1.37], **options)
        assert found.normalised(1.37) == pytest.approx(float(value), rel=1e-5)


@PEER_PAIRS
def test_area_equals_surface_distance_of_deepmind(name):
    a, b = PAIRS[name]
    peer = pytest.importorskip("surface_distance")
    for spacing in SPACINGS[a.ndim]:
        found = surface_distances(a, b, spacing, mode="area")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it uses names that scipy has deprecated
            expected = peer.compute_surface_distances(b, a, spacing)
        to_prediction, to_target = peer.compute_average_surface_distance(expected)
        assert found.average_to_prediction() == pytest.approx(to_prediction)
        assert found.average_to_target() == pytest.approx(to_target)
        for percentile in (50, 95, 100):
            value = peer.compute_robust_hausdorff(expected, percentile)
            assert found.hausdorff(percentile) == pytest.approx(value)
        value = peer.compute_surface_dice_at_tolerance(expected, 1.37)
        assert found.normalised(1.37) == pytest.approx(value)
