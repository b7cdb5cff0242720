import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.errors import DataError, UsageError
from pixelwise.metrics import PanopticQuality, panoptic_quality

UNTIMED = settings(deadline=None, max_examples=40)
CLASSES, THINGS, VOID = 4, (1, 3), 255


def scene(seed, height=24, width=32, noise=0.1):
    """(prediction, target) in blocks, with void, crowds and pixels without a segment."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, CLASSES, (height // 8, width // 8)).repeat(8, 0).repeat(8, 1)
    instances = rng.integers(0, 4, (height // 4, width // 4)).repeat(4, 0).repeat(4, 1)
    classes[rng.random((height // 4, width // 4)).repeat(4, 0).repeat(4, 1) < 0.1] = VOID
    found_classes = np.where(rng.random(classes.shape) < noise, rng.integers(0, CLASSES), classes)
    found_instances = np.where(rng.random(classes.shape) < noise, rng.integers(0, 4), instances)
    shift = int(rng.integers(0, 2))
    return (np.roll(found_classes, shift, 1), np.roll(found_instances, shift, 0)), (classes, instances)


def by_the_paper(prediction, target):
    """(sum of IoU, TP, FP, FN) of each class, segment by segment as the paper defines them."""
    numbers = np.zeros((CLASSES, 4))
    void = target[0] == VOID
    sides = []
    for classes, instances in (prediction, target):
        segments = {}
        for k in range(CLASSES):
            for i in np.unique(instances[classes == k]) if k in THINGS else [None]:
                mask = (classes == k) & (True if i is None else instances == i)
                if mask.any() and (k not in THINGS or i > 0):
                    segments[k, i] = mask
        sides.append(segments)
    found, true = sides
    matched_found, matched_true = set(), set()
    for (k, i), a in true.items():
        for (other, j), b in found.items():
            iou = (a & b).sum() / (a | (b & ~void)).sum()
            if k == other and iou > 0.5:
                numbers[k] += iou, 1, 0, 0
                matched_found.add((k, j))
                matched_true.add((k, i))
    for k, _ in true.keys() - matched_true:
        numbers[k, 3] += 1
    for k, j in found.keys() - matched_found:
        mask = found[k, j]
        crowd = (target[0] == k) & (target[1] == 0) if k in THINGS else np.zeros_like(void)
        if (mask & (void | crowd)).sum() <= mask.sum() / 2:
            numbers[k, 2] += 1
    return numbers


def numbers_of(quality):
    return np.stack(
        [quality.iou_sum, quality.true_positives, quality.false_positives, quality.false_negatives], 1
    )


ZEROS = np.zeros((3, 4), np.uint8)


@pytest.mark.parametrize("which", ["prediction", "target"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ((ZEROS * 0.5, ZEROS), "must hold integer ids but holds float64 .classes. and uint8"),
        ((ZEROS, ZEROS.astype(float)), "must hold integer ids but holds uint8 .classes. and float64"),
        ((ZEROS, ZEROS[1:]), r"classes of the shape \(3, 4\) and instances of \(2, 4\)"),
        ((ZEROS[0], ZEROS[0]), "give both H×W or B×H×W"),
        ((ZEROS + 4, ZEROS), "holds class id 4, expected 0..3 .or 255 for void"),
        ((ZEROS.astype(int) - 1, ZEROS), "holds class id -1, expected 0..3"),
        ((ZEROS, ZEROS.astype(int) - 1), "holds instance id -1, expected 0.."),
        ((ZEROS, ZEROS + np.int64(2**31)), "holds instance id 2147483648, expected 0..2147483647"),
    ],
)
def test_bad_maps_take_one_sentence_and_are_not_counted(bad, message, which):
    quality = PanopticQuality(CLASSES, THINGS)
    pair = {"prediction": (ZEROS, ZEROS), "target": (ZEROS, ZEROS)} | {which: bad}
    with pytest.raises(DataError, match=f"the {which} .*{message}"):
        quality.update(**pair)
    assert not numbers_of(quality).any()


def test_other_mistakes_take_one_sentence():
    quality = PanopticQuality(CLASSES, THINGS)
    with pytest.raises(DataError, match=r"shape \(3, 4\) and the target \(2, 4\): give both one size"):
        quality.update((ZEROS, ZEROS), (ZEROS[1:], ZEROS[1:]))
    with pytest.raises(UsageError, match=r"the target must be a pair \(class ids, instance ids\)"):
        quality.update((ZEROS, ZEROS), ZEROS)
    with pytest.raises(UsageError, match="at least one class"):
        PanopticQuality(0, [])
    with pytest.raises(UsageError, match="things holds class id 4, expected 0..3"):
        PanopticQuality(CLASSES, [4])
    with pytest.raises(UsageError, match="unknown group of classes 'thing': did you mean 'things'"):
        quality.mean_pq("thing")
    for other in (PanopticQuality(3, THINGS[:1]), PanopticQuality(CLASSES, [1])):
        with pytest.raises(DataError, match="of other classes or things"):
            quality.merge(other)


def test_nothing_gives_nan_and_no_warning(recwarn):
    quality = PanopticQuality(CLASSES, THINGS)
    for size in (0, 3):
        void = np.full((size, 4), VOID)
        quality.update((void, void), (void, void))
        for values in (quality.pq(), quality.sq(), quality.rq()):
            assert np.isnan(values).all()
        assert np.isnan([quality.mean_pq(of) for of in ("all", "things", "stuff")]).all()
    assert not recwarn


def test_values_by_hand():
    """A thing found at IoU 3/4, one missed, one invented; stuff at IoU 6/8."""
    true_classes = np.array([[1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, VOID]])
    true_instances = np.array([[1, 1, 1, 1, 0, 0, 0, 0], [2, 2, 2, 0, 0, 0, 0, 0]])
    found_classes = np.array([[1, 1, 1, 0, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0, 1, 1]])
    found_instances = np.array([[9, 9, 9, 0, 0, 0, 0, 5], [0, 0, 8, 0, 0, 0, 5, 5]])
    quality = panoptic_quality((found_classes, found_instances), (true_classes, true_instances), 3, [1])
    # found: thing 9 (3 of 4 pixels), 8 (1 of the 3 of thing 2), 5 (2 of stuff, 1 of void); stuff 9 pixels
    assert numbers_of(quality)[1].tolist() == [0.75, 1, 2, 1]
    assert numbers_of(quality)[0].tolist() == [6 / 11, 1, 0, 0]
    assert quality.pq() == pytest.approx([6 / 11, 0.75 / 2.5, np.nan], nan_ok=True)
    assert quality.sq() == pytest.approx([6 / 11, 0.75, np.nan], nan_ok=True)
    assert quality.rq() == pytest.approx([1, 1 / 2.5, np.nan], nan_ok=True)
    assert quality.mean_pq() == pytest.approx((6 / 11 + 0.3) / 2)
    assert quality.mean_pq("things") == pytest.approx(0.3)
    assert quality.mean_sq("stuff") == pytest.approx(6 / 11)
    assert quality.mean_rq("things") == pytest.approx(0.4)
    assert repr(quality) == "PanopticQuality(3 classes, 4 segments found, 3 true)"


def test_half_is_no_match_and_more_is():
    true = np.zeros((1, 8), int), np.zeros((1, 8), int)
    for size, matches in ((4, 0), (5, 1)):
        found = np.where(np.arange(8) < size, 0, VOID)[None], true[1]
        assert panoptic_quality(found, true, 1, []).true_positives.tolist() == [matches]
    assert panoptic_quality((np.full((1, 8), VOID), true[1]), true, 1, []).sq().tolist() == [0]


def test_found_segments_in_void_and_in_crowds_are_excused_when_more_than_half():
    found = np.zeros((1, 8), int), np.ones((1, 8), int)
    for others in (
        {"void": (np.full((1, 8), VOID), np.zeros((1, 8), int))},
        {"crowd of its class": (np.zeros((1, 8), int), np.zeros((1, 8), int))},
    ):
        for name, (classes, instances) in others.items():
            for excused, false in ((4, 1), (5, 0)):
                rest = np.arange(8)[None] >= excused
                true = np.where(rest, 1, classes), instances
                quality = panoptic_quality(found, true, 2, [0])
                assert quality.false_positives.tolist() == [false, 0], (name, excused)
                assert quality.false_negatives.tolist() == [0, 1]
    crowd_of_another = np.full((1, 8), 1), np.zeros((1, 8), int)
    assert panoptic_quality(found, crowd_of_another, 2, [0, 1]).false_positives.tolist() == [1, 0]


@pytest.mark.parametrize("dtypes", [(np.uint8, np.uint64), (np.int32, np.uint16), (np.uint16, np.int64)])
def test_equals_the_definition(dtypes):
    matches = 0
    for seed in range(12):
        prediction, target = scene(seed)
        expected = by_the_paper(prediction, target)
        typed = [(own[0].astype(dtypes[0]), own[1].astype(dtypes[1])) for own in (prediction, target)]
        quality = panoptic_quality(*typed, CLASSES, THINGS)
        assert numbers_of(quality) == pytest.approx(expected), seed
        matches += expected[:, 1].sum()
    assert matches > 50


def test_batches_are_images_of_their_own():
    scenes = [scene(seed) for seed in range(3)]
    quality, whole = PanopticQuality(CLASSES, THINGS), PanopticQuality(CLASSES, THINGS)
    for prediction, target in scenes:
        quality.update(prediction, target)
    stacked = [[np.stack([s[side][part] for s in scenes]) for part in range(2)] for side in range(2)]
    whole.update(*stacked)
    assert np.array_equal(numbers_of(quality), numbers_of(whole))


@UNTIMED
@given(st.integers(0, 2**32), st.permutations(range(3)))
def test_order_and_merging_change_nothing(seed, order):
    def fresh(i):
        return panoptic_quality(*scene(seed + i), CLASSES, THINGS)

    left, right, inner = fresh(0), fresh(order[0]), fresh(order[1])
    left.merge(fresh(1))
    left.merge(fresh(2))
    inner.merge(fresh(order[2]))
    right.merge(inner)
    assert numbers_of(left) == pytest.approx(numbers_of(right))
    assert left.pq() == pytest.approx(right.pq(), nan_ok=True)


@UNTIMED
@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_perfect_segments_give_one_whatever_their_ids(seed, other):
    _, (classes, instances) = scene(seed)
    names = np.random.default_rng(other).permutation(1000)[:4] + 1
    renamed = np.where(instances > 0, names[instances], 0)
    quality = panoptic_quality((classes, renamed), (classes, instances), CLASSES, THINGS)
    for values in (quality.pq(), quality.sq(), quality.rq()):
        assert (values[~np.isnan(values)] == 1).all() and not np.isnan(values).all()


@UNTIMED
@given(st.integers(0, 2**32))
def test_quality_is_the_product(seed):
    quality = panoptic_quality(*scene(seed), CLASSES, THINGS)
    assert quality.pq() == pytest.approx(quality.sq() * quality.rq(), nan_ok=True)
