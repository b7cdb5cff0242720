import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.errors import DataError, UsageError
from pixelwise.metrics import ConfusionMatrix

UNTIMED = settings(deadline=None)  # the first call of each type compiles its kernel
DTYPES = (np.uint8, np.int8, np.uint16, np.int32, np.int64)


def matrix_of(prediction, target, num_classes, ignore_index=255):
    matrix = ConfusionMatrix(num_classes, ignore_index)
    matrix.update(prediction, target)
    return matrix


def bincount_oracle(prediction, target, num_classes, ignore_index):
    valid = target != ignore_index
    pairs = target[valid].astype(np.int64) * num_classes + prediction[valid]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


@st.composite
def labelled_pixels(draw, dtypes=DTYPES):
    """(prediction, target, K, ignored id), some of the target ignored and the prediction wild there."""
    num_classes, pixels = draw(st.integers(1, 30)), draw(st.integers(1, 200))
    dtype, other = draw(st.sampled_from(dtypes)), draw(st.sampled_from(dtypes))
    ignore = draw(st.sampled_from((100, -1)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    runs = draw(st.sampled_from((1, 12)))  # longer runs, as in real masks, take another path in the kernel
    prediction = rng.integers(0, num_classes, pixels).repeat(runs)
    target = rng.integers(0, num_classes, pixels).repeat(runs)
    if np.issubdtype(other, np.signedinteger) or ignore > 0:
        ignored = rng.random(target.size) < 0.2
        target[ignored], prediction[ignored] = ignore, 77
    return prediction.astype(dtype), target.astype(other), num_classes, ignore


@UNTIMED
@given(labelled_pixels())
def test_equals_bincount(case):
    prediction, target, num_classes, ignore = case
    expected = bincount_oracle(prediction, target, num_classes, ignore)
    assert np.array_equal(matrix_of(*case).counts, expected)


@UNTIMED
@given(labelled_pixels(dtypes=(np.uint8,)), st.integers(0, 200))
def test_splitting_into_batches_changes_nothing(case, cut):
    prediction, target, num_classes, ignore = case
    parts = ConfusionMatrix(num_classes, ignore)
    parts.update(prediction[:cut], target[:cut])
    parts.update(prediction[cut:], target[cut:])
    assert np.array_equal(parts.counts, matrix_of(*case).counts)


@UNTIMED
@given(labelled_pixels(), st.integers(0, 2**32))
def test_order_of_pixels_changes_nothing(case, seed):
    prediction, target, num_classes, ignore = case
    order = np.random.default_rng(seed).permutation(target.size)
    shuffled = matrix_of(prediction[order], target[order], num_classes, ignore)
    assert np.array_equal(shuffled.counts, matrix_of(*case).counts)


@UNTIMED
@given(st.lists(st.lists(st.integers(0, 10**6), min_size=9, max_size=9), min_size=3, max_size=3))
def test_merge_is_associative_and_commutative(counts):
    def fresh(position):
        return ConfusionMatrix.from_counts(np.reshape(counts[position], (3, 3)))

    left, right, inner = fresh(0), fresh(2), fresh(1)
    left.merge(fresh(1))
    left.merge(fresh(2))
    inner.merge(fresh(0))
    right.merge(inner)
    assert np.array_equal(left.counts, right.counts)
    assert np.array_equal(left.counts, np.sum(counts, axis=0).reshape(3, 3))


@UNTIMED
@given(labelled_pixels())
def test_perfect_prediction_scores_one(case):
    _, target, num_classes, ignore = case
    valid = target != ignore
    matrix = matrix_of(target, target, num_classes, ignore)
    if not valid.any():
        assert np.isnan(matrix.mean_iou())
        return
    assert matrix.pixel_accuracy() == matrix.mean_iou() == matrix.mean_f1() == 1
    assert matrix.frequency_weighted_iou() == pytest.approx(1)
    present = np.bincount(target[valid].astype(int), minlength=num_classes) > 0
    for values in (matrix.iou(), matrix.f1(), matrix.precision(), matrix.recall()):
        assert np.array_equal(~np.isnan(values), present)


def test_values_by_hand():
    matrix = matrix_of([[0, 0, 1, 1], [2, 2, 1, 0]], [[0, 1, 1, 1], [2, 2, 255, 2]], 3)
    assert matrix.counts.tolist() == [[1, 0, 0], [1, 2, 0], [1, 0, 2]]
    assert matrix.pixel_accuracy() == pytest.approx(5 / 7)
    assert matrix.class_accuracy() == pytest.approx([1, 2 / 3, 2 / 3])
    assert matrix.recall() == pytest.approx([1, 2 / 3, 2 / 3])
    assert matrix.precision() == pytest.approx([1 / 3, 1, 1])
    assert matrix.iou() == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert matrix.f1() == pytest.approx([0.5, 0.8, 0.8])
    assert matrix.mean_iou() == pytest.approx(5 / 9)
    assert matrix.mean_class_accuracy() == pytest.approx(7 / 9)
    assert matrix.mean_f1() == pytest.approx(0.7)
    assert matrix.frequency_weighted_iou() == pytest.approx(0.619047619)
    # observed 5/7, by chance (1*3 + 3*2 + 3*2) / 49
    assert matrix.kappa() == pytest.approx((5 / 7 - 15 / 49) / (1 - 15 / 49))


def test_all_wrong_scores_zero():
    matrix = matrix_of([[1, 0], [0, 1]], [[0, 1], [1, 0]], 2)
    assert matrix.counts.tolist() == [[0, 2], [2, 0]]
    assert matrix.pixel_accuracy() == matrix.mean_iou() == matrix.frequency_weighted_iou() == 0
    assert matrix.kappa() == -1


def test_nothing_but_background_looks_good_in_pixels_only():
    target = np.zeros((10, 10), np.uint8)
    target[0] = 1
    matrix = matrix_of(np.zeros_like(target), target, 2)
    assert matrix.pixel_accuracy() == 0.90
    assert matrix.mean_iou() == 0.45


def test_absent_classes_leave_the_mean_but_false_ones_stay():
    matrix = matrix_of(prediction=[0, 0, 2], target=[0, 0, 0], num_classes=4)
    assert matrix.iou().tolist()[:1] == [2 / 3] and matrix.iou()[2] == 0
    assert np.isnan(matrix.iou()[[1, 3]]).all()
    assert matrix.mean_iou() == pytest.approx(1 / 3)
    assert np.isnan(matrix.recall()[2]) and matrix.precision()[2] == 0


def test_no_pixel_at_all_gives_nan_and_no_warning(recwarn):
    matrix = matrix_of(np.zeros((3, 3), np.uint8), np.full((3, 3), 255, np.uint8), 2)
    for value in (
        matrix.pixel_accuracy(),
        matrix.mean_iou(),
        matrix.frequency_weighted_iou(),
        matrix.kappa(),
    ):
        assert np.isnan(value)
    assert not recwarn


def test_views_of_any_layout():
    rng = np.random.default_rng(0)
    prediction, target = rng.integers(0, 5, (2, 64, 41), dtype=np.uint8)
    whole = matrix_of(prediction[1:, ::2], target[1:, ::2], 5)
    assert np.array_equal(whole.counts, bincount_oracle(prediction[1:, ::2], target[1:, ::2], 5, 255))
    turned = matrix_of(prediction.T, np.asfortranarray(target).T, 5)
    assert np.array_equal(turned.counts, bincount_oracle(prediction, target, 5, 255))
    flat = matrix_of(prediction.ravel()[3:], target.ravel()[3:], 5)  # starts inside a 64-bit word
    assert flat.counts.sum() == prediction.size - 3


def test_more_classes_than_a_byte_holds():
    ids = np.arange(300, dtype=np.uint16)
    assert matrix_of(ids, ids, 300, ignore_index=65535).mean_iou() == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        ([0, 7], [0, 1], "the prediction holds class id 7, expected 0..1"),
        ([0, 1], [0, 5], "the target holds class id 5, expected 0..1 (or 255 where there is no label)"),
        ([0, 255], [0, 1], "the prediction holds class id 255, expected 0..1"),
    ],
)
def test_ids_out_of_range_are_named_and_not_counted(prediction, target, message, dtype):
    matrix = ConfusionMatrix(2)
    with pytest.raises(DataError) as caught:
        matrix.update(np.array(prediction, dtype), np.array(target, dtype))
    assert str(caught.value) == message
    assert matrix.counts.sum() == 0


def test_negative_ids_are_out_of_range():
    with pytest.raises(DataError, match="the prediction holds class id -1"):
        matrix_of(np.array([-1]), np.array([0]), 2)


def test_other_mistakes_take_one_sentence():
    matrix = ConfusionMatrix(2)
    with pytest.raises(DataError, match=r"the prediction is 2x3 but the target is 3x2"):
        matrix.update(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))
    with pytest.raises(DataError, match=r"the prediction must hold integer class ids but is float32"):
        matrix.update(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.uint8))
    with pytest.raises(DataError, match="cannot merge counts of 3 classes into counts of 2"):
        matrix.merge(ConfusionMatrix(3))
    with pytest.raises(DataError, match="confusion counts must be KxK integers"):
        ConfusionMatrix.from_counts(np.zeros((2, 3), np.int64))
    with pytest.raises(UsageError, match="at least one class"):
        ConfusionMatrix(0)


@pytest.mark.parametrize(
    ("rule", "iou", "mean"), [("leave", np.nan, 0.25), ("zero", 0, 1 / 6), ("one", 1, 0.5)]
)
def test_the_rule_for_absent_classes(rule, iou, mean):
    matrix = ConfusionMatrix(3, absent=rule)
    matrix.update([[0, 0, 1]], [[0, 1, 255]])
    np.testing.assert_equal(matrix.iou(), [0.5, 0, iou])
    assert matrix.mean_iou() == pytest.approx(mean)
    assert ConfusionMatrix.from_counts(matrix.counts, absent=rule).mean_iou() == matrix.mean_iou()


def test_an_unknown_rule():
    with pytest.raises(UsageError, match="unknown rule for absent classes 'skip'"):
        ConfusionMatrix(3, absent="skip")


class TestPeersNumbers:
    """Values that other libraries give for these inputs."""

    def test_of_the_common_formulas(self):
        """mmsegmentation's tests; torchvision agrees where every class occurs."""
        matrix = matrix_of([[0, 0, 1, 1], [2, 2, 1, 0]], [[0, 1, 1, 1], [2, 2, 255, 2]], 3)
        assert matrix.counts.tolist() == [[1, 0, 0], [1, 2, 0], [1, 0, 2]]
        np.testing.assert_allclose(matrix.class_accuracy(), [1, 2 / 3, 2 / 3])
        np.testing.assert_allclose(matrix.iou(), [1 / 3, 2 / 3, 2 / 3])
        np.testing.assert_allclose(matrix.f1(), [0.5, 0.8, 0.8])
        found = matrix.pixel_accuracy(), matrix.mean_iou(), matrix.mean_class_accuracy(), matrix.mean_f1()
        np.testing.assert_allclose(found, [0.714285714, 0.555555556, 0.777777778, 0.7], atol=1e-8)
        assert matrix.frequency_weighted_iou() == pytest.approx(0.619047619, abs=1e-8)

    def test_all_wrong(self):
        matrix = matrix_of([[1, 0], [0, 1]], [[0, 1], [1, 0]], 2)
        found = matrix.pixel_accuracy(), matrix.mean_iou(), matrix.mean_f1(), matrix.frequency_weighted_iou()
        assert found == (0, 0, 0, 0)

    def test_of_segmentation_models_pytorch(self):
        """Its "macro" reduction of two images."""
        predictions = [[[0, 0, 1, 1], [2, 2, 1, 0]], [[0, 0, 0, 2], [0, 0, 0, 0]]]
        targets = [[[0, 1, 1, 1], [2, 2, 1, 2]], [[0, 1, 2, 2], [2, 0, 0, 255]]]
        matrix = matrix_of(predictions, targets, 3)
        assert matrix.counts.diagonal().tolist() == [4, 3, 3]
        macro = matrix.mean_iou(), matrix.mean_f1(), matrix.precision().mean(), matrix.recall().mean()
        np.testing.assert_allclose(macro, [0.514814794, 0.677350461, 0.814814806, 0.699999988], atol=1e-7)

    @pytest.mark.parametrize("seed", range(5))
    def test_of_scikit_learn(self, seed):
        from sklearn import metrics as peer

        target, prediction = np.random.default_rng(seed).integers(0, 6, (2, 2000))
        matrix = matrix_of(prediction, target, 6)
        assert np.array_equal(matrix.counts, peer.confusion_matrix(target, prediction))
        np.testing.assert_allclose(matrix.iou(), peer.jaccard_score(target, prediction, average=None))
        np.testing.assert_allclose(matrix.f1(), peer.f1_score(target, prediction, average=None))
        np.testing.assert_allclose(matrix.precision(), peer.precision_score(target, prediction, average=None))
        np.testing.assert_allclose(matrix.recall(), peer.recall_score(target, prediction, average=None))
        assert matrix.kappa() == pytest.approx(peer.cohen_kappa_score(target, prediction))
        assert matrix.frequency_weighted_iou() == pytest.approx(
            peer.jaccard_score(target, prediction, average="weighted")
        )

    def test_of_torchmetrics(self):
        torchmetrics = pytest.importorskip("torchmetrics")
        torch = pytest.importorskip("torch")
        target, prediction = np.random.default_rng(0).integers(0, 6, (2, 2000))
        target[:100] = 255
        peer = torchmetrics.JaccardIndex("multiclass", num_classes=6, ignore_index=255, average="none")
        found = matrix_of(prediction, target, 6).iou()
        np.testing.assert_allclose(
            found, peer(torch.from_numpy(prediction), torch.from_numpy(target)), rtol=1e-6
        )
