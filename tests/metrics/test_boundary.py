import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from pixelwise.errors import DataError, UsageError
from pixelwise.metrics import BoundaryF1, BoundaryIoU, ConfusionMatrix, Trimap, boundary_f1, boundary_iou

BRIEF = settings(deadline=None, max_examples=60)  # the first call compiles
CLASSES, IGNORE = 3, 255
METRICS = {
    "boundary F1": lambda: BoundaryF1(CLASSES, tolerance=1.5),
    "boundary IoU": lambda: BoundaryIoU(CLASSES, width=2),
    "trimap": lambda: Trimap(CLASSES, widths=(1, 2.5, 4)),
    "trimap around ignored": lambda: Trimap(CLASSES, widths=(1, 3), around="ignored"),
}
ALL = pytest.mark.parametrize("create", METRICS.values(), ids=METRICS)


def blocks(seed, shape=(24, 30), side=4, classes=CLASSES, ignored=True):
    """A prediction and a target of ragged blocks, a part of the target ignored."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (2, shape[0] // side, shape[1] // side + 1), dtype=np.uint8)
    prediction, target = coarse.repeat(side, axis=1).repeat(side, axis=2)[:, : shape[0], : shape[1]]
    prediction = np.where(rng.random(shape) < 0.7, target, prediction)
    if ignored:
        target[5:9, 3:14] = IGNORE
    return prediction, target


def state(metric):
    """All that a metric has added up."""
    return {
        name: np.copy(value)
        for name, value in vars(metric).items()
        if isinstance(value, (np.ndarray, float, int))
    }


def neighbours(array, fill):
    """The four neighbours of every pixel, ``fill`` beyond the border."""
    padded = np.pad(array, 1, constant_values=fill)
    return padded[1:-1, 2:], padded[1:-1, :-2], padded[2:, 1:-1], padded[:-2, 1:-1]


def beside_another(labels, valid):
    beside = np.zeros(labels.shape, bool)
    for other, known in zip(neighbours(labels, 0), neighbours(valid, False), strict=True):
        beside |= valid & known & (other != labels)
    return beside


# Bad input


@ALL
def test_label_maps_that_do_not_fit(create):
    metric, labels = create(), np.zeros((4, 5), np.uint8)
    before = state(metric)
    with pytest.raises(DataError, match="the prediction is 4x5 but the target is 5x4: give both one size"):
        metric.update(labels, labels.T)
    with pytest.raises(DataError, match="the prediction must hold integer class ids but is float64"):
        metric.update(np.full((4, 5), np.nan), labels)
    with pytest.raises(DataError, match="the target holds class id 3, expected 0..2"):
        metric.update(labels, labels + 3)
    with pytest.raises(DataError, match="the prediction holds class id 255, expected 0..2"):
        metric.update(labels + 255, labels)
    with pytest.raises(DataError, match="prediction and target are 5, expected 2 or 3 dimensions"):
        metric.update(labels[0], labels[0])
    for name, value in state(metric).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("width", [-1, math.nan, math.inf])
def test_widths_that_are_none(width):
    with pytest.raises(UsageError, match="tolerance is a share of the diagonal below 1, .* at least 0"):
        BoundaryF1(2, tolerance=width)
    with pytest.raises(UsageError, match="width is a share of the diagonal below 1, or pixels, above 0"):
        BoundaryIoU(2, width=width)
    with pytest.raises(UsageError, match="above 0"):
        BoundaryIoU(2, width=0)
    with pytest.raises(UsageError, match="the widths of a trimap ascend from 1 pixel or more"):
        Trimap(2, widths=(1, width))


@pytest.mark.parametrize("widths", [(), (0.5, 2), (2, 1), (1, 1), ((1, 2), (3, 4))])
def test_trimaps_need_ascending_widths(widths):
    with pytest.raises(UsageError, match="the widths of a trimap ascend from 1 pixel or more"):
        Trimap(2, widths=widths)


def test_other_bad_options():
    for create in (BoundaryF1, BoundaryIoU, Trimap):
        with pytest.raises(UsageError, match="take 1 to 65535 classes, got num_classes=0"):
            create(0)
    with pytest.raises(UsageError, match="unknown outline of a trimap"):
        Trimap(2, around="void")
    with pytest.raises(UsageError, match="this trimap has no width 7"):
        Trimap(2, widths=(1, 2)).at(7)


def test_only_the_same_can_be_merged():
    for one, other in (
        (BoundaryF1(2), BoundaryF1(3)),
        (BoundaryF1(2, tolerance=1), BoundaryF1(2, tolerance=2)),
        (BoundaryIoU(2), BoundaryIoU(2, width=3)),
        (Trimap(2), Trimap(3)),
        (Trimap(2), Trimap(2, around="ignored")),
        (Trimap(2, widths=(1, 2)), Trimap(2, widths=(1, 3))),
    ):
        with pytest.raises(DataError, match="cannot merge"):
            one.merge(other)


# Boundary F1


def f1_oracle(prediction, target, number, tolerance):
    """F1 of one class in one image by distance transforms; None when the class is absent."""
    valid = target != IGNORE
    masks = [(labels == number) & valid for labels in (prediction, target)]
    if not masks[0].any() and not masks[1].any():
        return None
    outlines = [mask & beside_another(mask, valid) for mask in masks]
    if not outlines[0].any() and not outlines[1].any():
        return float(masks[0].any() and masks[1].any())
    if not outlines[0].any() or not outlines[1].any():
        return 0.0
    to_target, to_prediction = (ndimage.distance_transform_edt(~outline) for outline in outlines[::-1])
    precision = (to_target[outlines[0]] <= tolerance).mean()
    recall = (to_prediction[outlines[1]] <= tolerance).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 3, 40, 0.05])
def test_f1_equals_distance_transforms(tolerance):
    score = BoundaryF1(CLASSES + 1, tolerance)
    scores = []
    for seed in range(4):
        prediction, target = blocks(seed)
        score.update(prediction, target)
        pixels = tolerance if tolerance >= 1 else tolerance * math.hypot(*target.shape)
        scores.append([f1_oracle(prediction, target, number, pixels) for number in range(CLASSES + 1)])
    by_image = np.array(scores, float)[:, :CLASSES]
    np.testing.assert_allclose(score.f1()[:CLASSES], by_image.mean(axis=0))
    assert np.isnan(score.f1()[CLASSES])
    assert score.mean_f1() == pytest.approx(by_image.mean(axis=0).mean())
    assert score.mean_image_f1() == pytest.approx(by_image.mean(axis=1).mean())


@BRIEF
@given(arrays(np.uint8, (2, 6, 7), elements=st.sampled_from([0, 1, 2, IGNORE])), st.sampled_from([0, 1, 2]))
def test_f1_of_any_labels(labels, tolerance):
    prediction, target = labels
    prediction[(prediction == IGNORE) & (target != IGNORE)] = 0
    expected = [f1_oracle(prediction, target, number, tolerance) for number in range(3)]
    np.testing.assert_allclose(boundary_f1(prediction, target, 3, tolerance), np.array(expected, float))


def test_f1_by_hand():
    prediction, target = np.zeros((2, 20, 20), np.uint8)
    target[5:15, 5:15] = 1
    prediction[5:15, 5:18] = 1  # three columns more: 42 outline pixels against 36
    # precision: without the last column (10) and the one before it (2 ends); recall: without 6 pixels of the
    # target's last column, whose ends and the pixels beside them are at most 1 away from the rows
    precision, recall = 30 / 42, 30 / 36
    score = BoundaryF1(2, tolerance=1)
    score.update(prediction, target)
    assert score.precision()[1] == pytest.approx(precision)
    assert score.recall()[1] == pytest.approx(recall)
    assert score.f1()[1] == pytest.approx(2 * precision * recall / (precision + recall))


def test_f1_averages_over_images_that_have_the_class():
    target = np.zeros((20, 20), np.uint8)
    target[5:15, 5:15] = 1
    score = BoundaryF1(3, tolerance=1)
    score.update(target, target)
    score.update(np.zeros_like(target), np.zeros_like(target))  # class 0 fills both: 1; class 1 is absent
    score.update(np.zeros_like(target), target)  # class 1 is missed, class 0 has no outline: 0
    np.testing.assert_allclose(score.f1(), [2 / 3, 1 / 2, math.nan])
    assert score.images.tolist() == [3, 2, 0]
    assert score.mean_f1() == pytest.approx(7 / 12)
    assert score.mean_image_f1() == pytest.approx((1 + 1 + 0) / 3)


def test_share_of_the_diagonal():
    prediction, target = blocks(1)
    diagonal = math.hypot(*target.shape)
    shares = boundary_f1(prediction, target, CLASSES, tolerance=2 / diagonal)
    np.testing.assert_array_equal(shares, boundary_f1(prediction, target, CLASSES, tolerance=2))
    shares = boundary_iou(prediction, target, CLASSES, width=2.4 / diagonal)
    np.testing.assert_array_equal(shares, boundary_iou(prediction, target, CLASSES, width=2))
    least = boundary_iou(prediction, target, CLASSES, width=1e-6)
    np.testing.assert_array_equal(least, boundary_iou(prediction, target, CLASSES, width=1))


# Boundary IoU


def iou_oracle(prediction, target, number, steps):
    """IoU of mask minus eroded mask, the image surrounded by nothing; ignored pixels belong to every mask."""
    valid = target != IGNORE
    bands = []
    for labels in (prediction, target):
        mask = (labels == number) | ~valid
        inner = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=steps, border_value=0)
        bands.append(mask & ~inner & valid)
    union = (bands[0] | bands[1]).sum()
    return (bands[0] & bands[1]).sum() / union if union else math.nan


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_iou_equals_erosions(steps):
    for seed in range(3):
        prediction, target = blocks(seed, side=6)
        expected = [iou_oracle(prediction, target, number, steps) for number in range(CLASSES + 1)]
        np.testing.assert_allclose(boundary_iou(prediction, target, CLASSES + 1, steps), expected)


@BRIEF
@given(arrays(np.uint8, (2, 6, 7), elements=st.sampled_from([0, 1, 2, IGNORE])), st.sampled_from([1, 2, 9]))
def test_iou_of_any_labels(labels, steps):
    prediction, target = labels
    prediction[(prediction == IGNORE) & (target != IGNORE)] = 0
    expected = [iou_oracle(prediction, target, number, steps) for number in range(3)]
    np.testing.assert_allclose(boundary_iou(prediction, target, 3, steps), expected)


def test_iou_adds_up_pixels():
    score = BoundaryIoU(CLASSES, width=2)
    both = [blocks(seed, side=6) for seed in (0, 1)]
    for pair in both:
        score.update(*pair)
    counts = sum(boundary.counts for boundary in (single_iou(pair) for pair in both))
    np.testing.assert_array_equal(score.counts, counts)
    assert score.mean_iou() == pytest.approx(score.iou().mean())


def single_iou(pair):
    score = BoundaryIoU(CLASSES, width=2)
    score.update(*pair)
    return score


def test_iou_by_hand():
    prediction, target = np.zeros((2, 12, 12), np.uint8)
    target[3:9, 3:9] = 1
    prediction[3:9, 4:10] = 1
    # rings of 20 pixels, one column apart: 5 above, 5 below, and one column end with two corners each
    assert boundary_iou(prediction, target, 2, width=1)[1] == pytest.approx(10 / 30)


# Trimaps


@pytest.mark.parametrize("around", ["classes", "ignored"])
def test_trimap_equals_distance_transforms(around):
    widths = (1, 2, 2.5, 4, 10)
    trimap = Trimap(CLASSES, widths, around=around)
    expected = [ConfusionMatrix(CLASSES) for _ in widths]
    for seed in range(3):
        prediction, target = blocks(seed, side=6)
        trimap.update(prediction, target)
        valid = target != IGNORE
        outline = beside_another(target, valid) if around == "classes" else ~valid
        distance = ndimage.distance_transform_edt(~outline) + (around == "classes")
        for matrix, width in zip(expected, widths, strict=True):
            matrix.update(prediction, np.where(distance <= width, target, IGNORE))
    for i, width in enumerate(widths):
        np.testing.assert_array_equal(trimap.at(width).counts, expected[i].counts)
        np.testing.assert_array_equal(trimap.iou()[i], expected[i].iou())
    np.testing.assert_allclose(trimap.accuracy(), [matrix.pixel_accuracy() for matrix in expected])
    np.testing.assert_allclose(trimap.mean_iou(), [matrix.mean_iou() for matrix in expected])


def test_trimap_by_hand():
    target = np.zeros((4, 10), np.uint8)
    target[:, 5:] = 1
    prediction = np.zeros((4, 10), np.uint8)
    prediction[:, 6:] = 1  # one column too late
    trimap = Trimap(2, widths=(1, 2, 5))
    trimap.update(prediction, target)
    assert trimap.accuracy().tolist() == [1 / 2, 3 / 4, 9 / 10]
    assert trimap.iou()[0].tolist() == [1 / 2, 0]


def test_trimap_without_outline_is_nan():
    trimap = Trimap(2, widths=(1, 2))
    trimap.update(np.zeros((4, 5), int), np.zeros((4, 5), int))
    assert np.isnan(trimap.accuracy()).all() and np.isnan(trimap.mean_iou()).all()


# All of them


@ALL
def test_batches_and_merges_equal_single_images(create):
    pairs = [blocks(seed) for seed in range(4)]
    one, batch, first, second = create(), create(), create(), create()
    for i, pair in enumerate(pairs):
        one.update(*pair)
        (first if i < 2 else second).update(*pair)
    batch.update(*(np.stack(maps) for maps in zip(*pairs, strict=True)))
    first.merge(second)
    for name, value in state(one).items():
        np.testing.assert_allclose(state(batch)[name], value)
        np.testing.assert_allclose(state(first)[name], value)


@ALL
def test_ignored_pixels_may_be_predicted_as_anything(create):
    prediction, target = blocks(3)
    one, other = create(), create()
    one.update(prediction, target)
    other.update(np.where(target == IGNORE, 99, prediction), target)
    for name, value in state(one).items():
        np.testing.assert_array_equal(state(other)[name], value)


@ALL
def test_any_type_and_memory_order(create):
    prediction, target = blocks(2)
    one, other = create(), create()
    one.update(prediction, target)
    other.update(
        np.asfortranarray(prediction).astype(np.int64), target.repeat(2, axis=1)[:, ::2].astype(np.int16)
    )
    for name, value in state(one).items():
        np.testing.assert_array_equal(state(other)[name], value)


@ALL
def test_only_ignored_pixels_give_nan_without_a_warning(create, recwarn):
    metric = create()
    metric.update(np.zeros((4, 5), np.uint8), np.full((4, 5), IGNORE))
    scores = metric.f1() if isinstance(metric, BoundaryF1) else metric.iou()
    mean = metric.mean_f1() if isinstance(metric, BoundaryF1) else metric.mean_iou()
    assert np.isnan(scores).all() and np.isnan(mean).all()
    assert not recwarn


@BRIEF
@given(st.integers(0, 50))
def test_perfect_predictions(seed):
    _, target = blocks(seed)
    perfect = np.where(target == IGNORE, 0, target)
    present = np.isin(np.arange(CLASSES), target)
    for scores in (boundary_f1(perfect, target, CLASSES, 0), boundary_iou(perfect, target, CLASSES, 2)):
        assert (scores[present] == 1).all() and np.isnan(scores[~present]).all()
    trimap = Trimap(CLASSES, (1, 3))
    trimap.update(perfect, target)
    assert (trimap.accuracy() == 1).all()


@BRIEF
@given(st.integers(0, 50))
def test_symmetry_and_turning(seed):
    prediction, target = blocks(seed, ignored=False)
    for score in (lambda p, t: boundary_f1(p, t, CLASSES, 1.5), lambda p, t: boundary_iou(p, t, CLASSES, 2)):
        expected = score(prediction, target)
        np.testing.assert_allclose(score(target, prediction), expected)
        np.testing.assert_allclose(score(prediction.T[::-1], target.T[::-1]), expected)


def test_more_classes_than_a_byte_holds():
    labels = np.arange(300).reshape(20, 15)
    assert (boundary_f1(labels, labels, 300, 1, ignore_index=-1) == 1).all()
    assert (boundary_iou(labels, labels, 300, 1, ignore_index=-1) == 1).all()
    trimap = Trimap(300, (1,), ignore_index=-1)
    trimap.update(labels, labels)
    assert trimap.mean_iou() == [1]
