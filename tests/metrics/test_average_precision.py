import contextlib
import gc
import io
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve

from pixelwise.errors import DataError, UsageError
from pixelwise.kernels.runs import encode_runs, runs_to_text
from pixelwise.kernels.spans import erode_spans, spans_of_pixels
from pixelwise.metrics import (
    InstanceAveragePrecision,
    Instances,
    PixelAveragePrecision,
    average_precision,
)
from pixelwise.shapes import Bitmap

UNTIMED = settings(deadline=None, max_examples=30)
HEIGHT, WIDTH = 60, 90
EMPTY = Instances(labels=[], masks=[], scores=[])


# Pixels


def softmax_scores(seed, classes=4, pixels=300, decimals=None):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, pixels)
    logits = rng.normal(size=(classes, pixels)) + 1.5 * (np.arange(classes)[:, None] == target)
    scores = np.exp(logits) / np.exp(logits).sum(0)
    return (scores if decimals is None else scores.round(decimals)), target


@pytest.mark.parametrize(
    ("scores", "target", "message"),
    [
        (np.zeros((2, 3, 3)), np.zeros((3, 4), int), r"shape \(2, 3, 3\) and the target \(3, 4\)"),
        (np.zeros((3, 3, 3)), np.zeros((3, 3), int), r"expected \(2, 3, 3\), a score of each class"),
        (np.zeros((2, 3)), np.zeros(3), "integer class ids but is float64"),
        (np.zeros((2, 3)), np.array([0, 2, 1]), "class id 2, expected 0..1 .or 255 where"),
        (np.zeros((2, 3)), np.array([0, -1, 1]), "class id -1, expected 0..1"),
        (np.array([[0, np.nan], [0, 0]]), np.array([0, 1]), "hold nan where the target has a label"),
        (np.array([[0, np.inf], [0, 0]]), np.array([0, 1]), "hold inf"),
        (np.array([["a", "b"], ["c", "d"]]), np.array([0, 1]), "real numbers but are <U1"),
        (np.zeros((2, 3), complex), np.array([0, 1, 1]), "real numbers but are complex128"),
    ],
)
@pytest.mark.parametrize("bins", [None, 10])
def test_bad_pixels_take_one_sentence_and_are_not_counted(scores, target, message, bins):
    metric = PixelAveragePrecision(2, bins=bins)
    with pytest.raises(DataError, match=message):
        metric.update(scores, target)
    assert repr(metric) == "PixelAveragePrecision(2 classes, 0 pixels)"


def test_other_mistakes_with_pixels():
    with pytest.raises(DataError, match=r"in bins must lie in 0..1, found 1.5: apply softmax"):
        PixelAveragePrecision(2, bins=4).update(np.full((2, 3), 1.5), np.zeros(3, int))
    with pytest.raises(DataError, match="cannot merge 2 classes and bins=4 into 2 classes and bins=None"):
        PixelAveragePrecision(2).merge(PixelAveragePrecision(2, bins=4))
    with pytest.raises(UsageError, match="at least one class"):
        PixelAveragePrecision(0)
    with pytest.raises(UsageError, match="at least one bin"):
        PixelAveragePrecision(2, bins=0)
    with pytest.raises(UsageError, match=r"no class 2: there are 0..1"):
        PixelAveragePrecision(2).curve(2)
    with pytest.raises(DataError, match="2 predictions but 1 targets"):
        average_precision([np.zeros((2, 3))] * 2, [np.zeros(3, int)])
    with pytest.raises(DataError, match="no image"):
        average_precision([], [])
    with pytest.raises(UsageError, match="num_classes and kind are for instances"):
        average_precision(np.zeros((2, 3)), np.zeros(3, int), kind="box")
    with pytest.raises(UsageError, match="bins and ignore_index are for pixels"):
        average_precision(EMPTY, EMPTY, iou=0.5, bins=4)
    with pytest.raises(UsageError, match="with iou give Instances"):
        average_precision(np.zeros((2, 3)), np.zeros(3, int), iou=0.5)


def test_no_pixel_gives_nan_and_no_warning(recwarn):
    for bins in (None, 5):
        metric = PixelAveragePrecision(3, bins=bins)
        assert np.isnan(metric.average_precision()).all() and np.isnan(metric.mean_average_precision())
        metric.update(np.zeros((3, 2, 2)), np.full((2, 2), 255))
        assert np.isnan(metric.average_precision()).all() and np.isnan(metric.mean_average_precision())
        assert metric.curve(0).precision.size == 0
    assert not recwarn


@pytest.mark.parametrize("decimals", [None, 1])  # of one decimal most scores are equal
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_scikit_learn(decimals, dtype):
    scores, target = softmax_scores(0, decimals=decimals)
    scores = scores.astype(dtype)
    expected = [average_precision_score(target == k, scores[k]) for k in range(4)]
    assert min(expected) > 0.3 and max(expected) < 0.95
    assert average_precision(scores, target) == pytest.approx(expected, abs=1e-12)
    ignored = target == 3
    rest = np.where(ignored, 255, target)
    scores[:, ignored] = np.nan  # anything goes there
    expected = [average_precision_score(target[~ignored] == k, scores[k, ~ignored]) for k in range(3)]
    ours = average_precision(scores, rest)
    assert ours[:3] == pytest.approx(expected, abs=1e-12) and np.isnan(ours[3])
    assert average_precision(scores, np.where(ignored, 9, target), ignore_index=9)[:3] == pytest.approx(
        expected
    )


def test_curve_equals_scikit_learn():
    scores, target = softmax_scores(1, decimals=2)
    metric = PixelAveragePrecision(4)
    metric.update(scores.reshape(4, 10, 30), target.reshape(10, 30))
    precision, recall, thresholds = precision_recall_curve(target == 2, scores[2].astype(np.float64))
    curve = metric.curve(2)
    # theirs rises, ends with the point (1, 0) and goes on below the score of full recall
    assert curve.thresholds == pytest.approx(thresholds[::-1])
    assert curve.precision == pytest.approx(precision[-2::-1])
    assert curve.recall == pytest.approx(recall[-2::-1])


def test_one_class_is_binary():
    scores = np.array([[0.9, 0.6, 0.2, 0.1]])
    assert average_precision(scores, np.array([1, 0, 1, 255])) == pytest.approx([(1 + 2 / 3) / 2])


def test_bins_take_near_scores_for_equal():
    scores, target = softmax_scores(2)
    bins = np.minimum(np.floor(scores * 8), 7)
    expected = [average_precision_score(target == k, bins[k]) for k in range(4)]
    assert average_precision(scores, target, bins=8) == pytest.approx(expected, abs=1e-12)
    fine = average_precision(scores, target, bins=100_000)
    assert fine == pytest.approx(average_precision(scores, target), abs=1e-3)
    metric = PixelAveragePrecision(2, bins=4)
    metric.update([[0.0, 0.25, 1.0], [1.0, 0.75, 0.0]], [1, 0, 0])
    assert metric.curve(0).thresholds.tolist() == [0.75, 0.25, 0]


@UNTIMED
@given(
    st.integers(0, 2**32), st.lists(st.integers(0, 60), min_size=2, max_size=2), st.sampled_from([None, 7])
)
def test_order_and_grouping_of_pixels_change_nothing(seed, cuts, bins):
    scores, target = softmax_scores(seed, pixels=60, decimals=1)
    whole = average_precision(scores, target, bins=bins)
    first, second = sorted(cuts)
    parts = []
    for part in (slice(second, None), slice(None, first), slice(first, second)):
        parts.append(PixelAveragePrecision(4, bins=bins))
        parts[-1].update(scores[:, part], target[part])
    parts[1].merge(parts[2])
    parts[0].merge(parts[1])
    assert parts[0].average_precision() == pytest.approx(whole, nan_ok=True)


@UNTIMED
@given(st.integers(0, 2**32))
def test_perfect_scores_give_one(seed):
    target = np.random.default_rng(seed).integers(0, 3, (4, 5))
    ours = average_precision((np.arange(3)[:, None, None] == target).astype(np.float32), target)
    assert (ours[np.unique(target)] == 1).all()
    assert np.isnan(ours).sum() == 3 - len(np.unique(target))


# Instances


def blob(rng, spread=1.0):
    """A filled ellipse, often cut off by the border, with a hole or a bite now and then."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    cy, cx, ry, rx = rng.uniform(0, HEIGHT), rng.uniform(0, WIDTH), *rng.uniform(2, 25, 2) * spread
    mask = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
    if rng.random() < 0.3:
        mask &= (x + y) % 7 > 0
    mask[int(cy) % HEIGHT, int(cx) % WIDTH] = True
    return mask


def scene(seed, images=12, classes=3):
    """COCO's truth and results as dicts, not too easy, with crowds and equal scores; masks beside them."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for image in rng.permutation(np.arange(1, images + 1)).tolist():
        for _ in range(rng.integers(0, 6)):
            mask, label = blob(rng), int(rng.integers(classes))
            crowd = int(rng.random() < 0.15)
            truths.append((image, label, mask, crowd, 0.0))
            for score in rng.beta(5, 2, rng.choice([0, 1, 1, 1, 3])):
                moved = np.roll(mask, rng.integers(-1, 2, 2), (0, 1)) ^ (
                    blob(rng, 0.2) & (rng.random() < 0.5)
                )
                if moved.any():
                    found.append((image, label, moved, 0, round(float(score), 1)))
        for score in rng.beta(2, 5, rng.integers(0, 3)):
            found.append((image, int(rng.integers(classes)), blob(rng), 0, round(float(score), 1)))
    order = rng.permutation(len(found))
    return truths, [found[i] for i in order]


def runs_of(mask):
    return {"size": list(mask.shape), "counts": runs_to_text(encode_runs(mask))}


def records(instances, scored, boxes):
    out = []
    for number, (image, label, mask, crowd, score) in enumerate(instances, 1):
        record = {"image_id": image, "category_id": 10 * label + 5}
        if boxes:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            x, y = columns[0] + 0.3, rows[0] + 0.1
            record["bbox"] = [x, y, float(np.ptp(columns)) + 1.3, float(np.ptp(rows)) + 1.3]
        else:
            record["segmentation"] = runs_of(mask)
        if scored:
            record["score"] = score
        else:
            record |= {"id": number, "iscrowd": crowd, "area": float(mask.sum())}
        out.append(record)
    return out


def coco_files(folder, truths, found, images, classes, boxes=False, size=(HEIGHT, WIDTH)):
    height, width = size
    listed = [{"id": i, "height": height, "width": width} for i in range(1, images + 1)]
    categories = [{"id": 10 * k + 5, "name": f"class {k}"} for k in range(classes)]
    truth = {"images": listed, "annotations": truths, "categories": categories}
    paths = folder / "truth.json", folder / "found.json"
    for path, content in zip(paths, (truth, found), strict=True):
        path.write_text(json.dumps(content))
    return paths


def peer_tables(coco, judge, truth, found, kind, **parameters):
    with contextlib.redirect_stdout(io.StringIO()):
        true = coco(str(truth))
        evaluation = judge(true, true.loadRes(str(found)), kind)
        for name, value in parameters.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
        if not parameters:
            evaluation.summarize()
    return evaluation


def pycoco(truth, found, kind, **parameters):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return peer_tables(COCO, COCOeval, truth, found, kind, **parameters)


def assert_same_tables(scores, peer):
    counts = peer.eval["counts"]
    for name in ("precision", "scores"):
        theirs = np.reshape(peer.eval[name], counts)
        assert np.abs(np.nan_to_num(getattr(scores, name), nan=-1) - theirs).max() <= 1e-12, name
    theirs = np.reshape(peer.eval["recall"], (counts[0], *counts[2:]))
    assert np.abs(np.nan_to_num(scores.recall, nan=-1) - theirs).max() <= 1e-12


def metric_of(truths, found, classes, kind="mask", **options):
    metric = InstanceAveragePrecision(classes, kind, **options)
    for image in sorted({own[0] for own in (*truths, *found)}):
        sides = []
        for side in (found, truths):
            own = [one for one in side if one[0] == image]
            sides.append(
                Instances(
                    labels=np.array([one[1] for one in own], np.int64),
                    masks=np.array([one[2] for one in own], bool).reshape(-1, HEIGHT, WIDTH),
                    scores=[one[4] for one in own],
                    crowd=np.array([one[3] for one in own], bool),
                )
            )
        metric.update(*sides, image)
    return metric


BLOCK = np.zeros((1, 8, 8), bool)
BLOCK[0, 2:6, 2:6] = True
GOOD = Instances([0], masks=BLOCK, scores=[0.5])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Instances([0.0], masks=BLOCK, scores=[1]), "labels must be integer class ids but are float64"),
        (Instances([[0]], masks=BLOCK, scores=[1]), r"labels must be a row of N class ids"),
        (Instances([2], masks=BLOCK, scores=[1]), r"holds class id 2, expected 0..1"),
        (Instances([-1], masks=BLOCK, scores=[1]), r"holds class id -1, expected 0..1"),
        (Instances([0], masks=BLOCK), "has no scores, expected one for each of 1 instances"),
        (Instances([0], masks=BLOCK, scores=[0.1, 0.2]), r"scores have the shape \(2,\), but there are 1"),
        (
            Instances([0], masks=BLOCK, scores=[np.nan]),
            "scores must be finite numbers, found nan at number 0",
        ),
        (Instances([0], masks=BLOCK, scores=["high"]), "scores must be numbers"),
        (Instances([0], scores=[1]), "has no masks"),
        (Instances([0, 1], masks=BLOCK, scores=[1, 1]), "has 1 masks but 2 labels"),
        (Instances([0], masks=BLOCK[0][:1], scores=[1]), r"masks must be N×H×W, found the shape \(1, 8\)"),
        (Instances([0], masks=BLOCK * 0.5, scores=[1]), "but are float64; apply a threshold first"),
        (
            Instances([0], masks=np.ones((1, 8, 9), bool), scores=[1]),
            "masks of 9x8 pixels in an image of 8x8",
        ),
        (Instances([0, 0], masks=[BLOCK[0], BLOCK[0, 1:]], scores=[1, 1]), "the sizes of its masks differ"),
        (Instances([0], masks=[{"counts": "13"}], scores=[1]), "run lengths must come as"),
        (
            Instances([0], masks=[{"size": [8, 8], "counts": [1.5]}], scores=[1]),
            "must be whole numbers or text",
        ),
        (
            Instances([0], masks=[{"size": [8, 8], "counts": [60, 9]}], scores=[1]),
            "do not fit an image of 8x8",
        ),
        (
            Instances([0], masks=[{"size": [8, 8], "counts": [-1, 9]}], scores=[1]),
            "do not fit an image of 8x8",
        ),
        (
            Instances(
                [0, 0],
                masks=[{"size": [8, 8], "counts": [9]}, {"size": [8, 9], "counts": [9]}],
                scores=[1, 1],
            ),
            "the sizes of its run lengths differ",
        ),
    ],
)
def test_bad_detections_take_one_sentence_and_are_not_counted(bad, message):
    metric = InstanceAveragePrecision(2)
    with pytest.raises(DataError, match=f"^image 0: the prediction: .*{message}"):
        metric.update(bad, GOOD)
    assert repr(metric) == "InstanceAveragePrecision(2 classes, mask, 0 images, 0 detections, 0 truths)"


@pytest.mark.parametrize(
    ("bad", "kind", "message"),
    [
        (Instances([0], masks=BLOCK, crowd=[True, False]), "mask", "crowd must be 1 booleans"),
        (Instances([0], masks=BLOCK, ignore=[0.5]), "mask", "ignore must be 1 booleans"),
        (Instances([0], masks=BLOCK, areas=[1, 2]), "mask", r"areas have the shape \(2,\)"),
        (Instances([0], masks=BLOCK), "box", "has no boxes, expected N×4"),
        (Instances([0], boxes=[[1, 2, 3]]), "box", "boxes must be 1×4 numbers"),
        (Instances([0], boxes=[[5, 2, 3, 4]]), "box", "box 0 is .*, expected x0, y0, x1, y1 in this order"),
        (Instances([0], boxes=[[1, 2, 3, np.nan]]), "box", "box 0 is"),
    ],
)
def test_bad_truths_take_one_sentence(bad, kind, message):
    metric = InstanceAveragePrecision(2, kind)
    with pytest.raises(DataError, match=f"^image street: the target: .*{message}"):
        metric.update(Instances([], masks=[], boxes=[], scores=[]), bad, image="street")


def test_damaged_text_is_named_when_it_is_read():
    for text, message in (("1~", "damaged at character 2"), ("1é", "at character 2"), ("1P", "character 2")):
        metric = InstanceAveragePrecision(1)
        metric.update(GOOD, GOOD, image=7)
        bad = Instances([0, 0], masks=[runs_of(BLOCK[0]), {"size": [8, 8], "counts": text}], scores=[1, 1])
        metric.update(bad, EMPTY, image=8)
        with pytest.raises(DataError, match=f"^image 8: the prediction: mask 1: .*{message}"):
            metric.compute()
    metric = InstanceAveragePrecision(1)
    metric.update(Instances([0], masks=[{"size": [4, 4], "counts": b"0T1"}], scores=[1]), EMPTY)
    with pytest.raises(DataError, match="the run lengths do not fit an image of 4x4"):
        metric.compute()


def test_bad_images_and_options():
    metric = InstanceAveragePrecision(1)
    metric.update(GOOD, GOOD, image=3)
    with pytest.raises(DataError, match="image 3 was added before"):
        metric.update(GOOD, GOOD, image=3)
    with pytest.raises(DataError, match="either all images have ids"):
        metric.update(GOOD, GOOD)
    with pytest.raises(DataError, match="either all images have ids"):
        metric.update(GOOD, GOOD, image="three")
    with pytest.raises(DataError, match="must be a number or a name, found float"):
        metric.update(GOOD, GOOD, image=3.5)
    with pytest.raises(DataError, match="image 3 was added before"):
        metric.merge(metric)
    with pytest.raises(DataError, match="cannot merge box AP of 2 classes into mask AP of 1"):
        metric.merge(InstanceAveragePrecision(2, "box"))
    with pytest.raises(UsageError, match=r"expected Instances\(labels"):
        metric.update([1], GOOD, image=4)
    bitmap = Bitmap(0, 0, 2, 2, np.array([0, 4]))
    with pytest.raises(UsageError, match=r"give size=\(height, width\)"):
        metric.update(Instances([0], masks=[bitmap], scores=[1]), EMPTY, image=4)
    for options, message in (
        ({"kind": "masks"}, "unknown kind 'masks': did you mean 'mask'"),
        ({"iou": "voc"}, "iou must be a number, several, or 'coco'"),
        ({"iou": 0}, "above 0 and at most 1"),
        ({"iou": [0.5, 1.5]}, "above 0 and at most 1"),
        ({"areas": {}}, "areas must be"),
        ({"areas": {"all": (5, 1)}}, "areas must be"),
        ({"max_detections": [0]}, "max_detections must be"),
        ({"dilation": 0}, "dilation is a share"),
        ({"num_classes": 0}, "at least one class"),
    ):
        with pytest.raises(UsageError, match=message):
            InstanceAveragePrecision(**({"num_classes": 1} | options))
    scores = metric.compute()
    for arguments, message in (
        ({"iou": 0.52}, "no threshold 0.52: computed were 0.5, 0.55"),
        ({"area": "larg"}, "did you mean 'large'"),
        ({"max_detections": 5}, "max_detections 5 was not computed"),
    ):
        with pytest.raises(UsageError, match=message):
            scores.average_precision(**arguments)


def test_nothing_at_all_gives_nan_and_no_warning(recwarn):
    metric = InstanceAveragePrecision(2)
    for _ in range(2):
        scores = metric.compute()
        assert scores.precision.shape == (10, 101, 2, 4, 3) and scores.recall.shape == (10, 2, 4, 3)
        assert np.isnan(scores.precision).all() and np.isnan(list(scores.summary().values())).all()
        metric.update(EMPTY, EMPTY)
    metric.update(GOOD, EMPTY)  # a class that is never true leaves the mean, whatever is detected
    assert np.isnan(metric.compute().mean_average_precision())
    metric.update(EMPTY, GOOD)
    assert metric.compute().average_precision()[0] == 0
    assert not recwarn


@pytest.mark.parametrize("seed", range(3))
def test_masks_equal_pycocotools(tmp_path, seed):
    pytest.importorskip("pycocotools")
    truths, found = scene(seed)
    files = coco_files(tmp_path, records(truths, False, False), records(found, True, False), 12, 3)
    peer = pycoco(*files, "segm")
    assert 0.2 < peer.stats[0] < 0.8 and peer.stats[3] > 0  # the case is neither too easy nor too hard
    metric = InstanceAveragePrecision.from_coco(*files)
    scores = metric.compute()
    assert_same_tables(scores, peer)
    assert list(scores.summary().values()) == pytest.approx(
        np.where(peer.stats < 0, np.nan, peer.stats), nan_ok=True
    )
    assert scores.names == ("class 0", "class 1", "class 2") and metric.problems == ()
    assert_same_tables(metric_of(truths, found, 3).compute(), peer)


@pytest.mark.parametrize("seed", range(2))
def test_boxes_equal_pycocotools(tmp_path, seed):
    pytest.importorskip("pycocotools")
    truths, found = scene(seed + 10)
    files = coco_files(tmp_path, records(truths, False, True), records(found, True, True), 12, 3)
    peer = pycoco(*files, "bbox")
    assert 0.05 < peer.stats[0] < 0.9
    assert_same_tables(InstanceAveragePrecision.from_coco(*files, "box").compute(), peer)


def test_boxes_of_detections_that_are_masks_equal_pycocotools(tmp_path):
    pytest.importorskip("pycocotools")
    truths, found = scene(20)
    files = coco_files(tmp_path, records(truths, False, True), records(found, True, False), 12, 3)
    peer = pycoco(*files, "bbox")
    assert_same_tables(InstanceAveragePrecision.from_coco(*files, "box").compute(), peer)


def test_limits_and_areas_equal_pycocotools(tmp_path):
    pytest.importorskip("pycocotools")
    truths, found = scene(30, images=3, classes=1)
    ranges = {"all": (0, 1e10), "tiny": (0, 100), "rest": (100, 900)}
    files = coco_files(tmp_path, records(truths, False, False), records(found, True, False), 3, 1)
    peer = pycoco(*files, "segm", maxDets=[1, 2, 4], areaRng=[list(own) for own in ranges.values()])
    metric = InstanceAveragePrecision.from_coco(*files, areas=ranges, max_detections=(4, 1, 2))
    assert_same_tables(metric.compute(), peer)
    recalls = [metric.compute().mean_average_recall(max_detections=limit) for limit in (1, 2, 4)]
    assert recalls[0] < recalls[1] < recalls[2]  # the limits cut something off


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (50, 80), (75, 100)])  # widths 2.2, 1.9 and 2.5 pixels
def test_boundaries_equal_faster_coco_eval(tmp_path, size, monkeypatch):
    peers = pytest.importorskip("faster_coco_eval")
    pytest.importorskip("pycocotools")
    monkeypatch.setitem(globals(), "HEIGHT", size[0])
    monkeypatch.setitem(globals(), "WIDTH", size[1])
    truths, found = scene(40)
    files = coco_files(tmp_path, records(truths, False, False), records(found, True, False), 12, 3, size=size)
    peer = peer_tables(peers.COCO, peers.COCOeval_faster, *files, "boundary")
    masks = InstanceAveragePrecision.from_coco(*files).compute().mean_average_precision()
    scores = InstanceAveragePrecision.from_coco(*files, "boundary").compute()
    assert 0.05 < scores.mean_average_precision() < masks
    assert_same_tables(scores, peer)


@UNTIMED
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_erosion_equals_opencv(seed, radius):
    rng = np.random.default_rng(seed)
    masks = np.array([blob(rng) | blob(rng, 2) for _ in range(4)])
    masks[0] = True
    expected = []
    for mask in masks:
        padded = np.pad(mask.astype(np.uint8), 1)
        expected.append(cv2.erode(padded, np.ones((3, 3)), iterations=radius)[1:-1, 1:-1])
    sizes, numbers = np.full(4, HEIGHT), np.full(4, radius)
    wanted = np.array([True, True, True, False])
    inner = erode_spans(spans_of_pixels(masks), wanted, sizes, numbers)
    assert expected[0].any()
    assert np.array_equal([pixels_of(inner, i, (HEIGHT, WIDTH)) for i in range(3)], expected[:3])
    assert inner.area[3] == 0


def test_boundary_width_is_rounded_as_in_the_papers_code():
    """1.5 pixels are 2 (to even); faster-coco-eval computes in single precision here, which gives 1."""
    true, found = np.ones((2, 45, 60), bool)
    found[0] = False
    rims = [mask & ~cv2.erode(np.pad(mask, 1).astype(np.uint8), np.ones((5, 5)))[1:-1, 1:-1].astype(bool)
            for mask in (true, found)]  # fmt: skip
    overlap = (rims[0] & rims[1]).sum() / (rims[0] | rims[1]).sum()
    instances = Instances([0], [1.0], found[None]), Instances([0], masks=true[None])
    assert average_precision(*instances, iou=overlap - 1e-6, kind="boundary") == pytest.approx([1])
    assert average_precision(*instances, iou=overlap + 1e-6, kind="boundary") == [0]


def pixels_of(spans, i, size):
    pixels = np.zeros(size[0] * size[1], bool)
    for first, last in spans.edges[spans.begin[i] : spans.end[i]].reshape(-1, 2):
        pixels[first:last] = True
    return pixels.reshape(size[::-1]).T


@pytest.mark.parametrize("seed", range(3))
def test_outlines_equal_the_coco_api(tmp_path, seed):
    """Outlines of all sorts: several rings, holes by crossing, beyond the image, slivers, straight edges."""
    pytest.importorskip("pycocotools")
    rng = np.random.default_rng(seed)
    truths = []
    for number in range(1, 121):
        rings = []
        for _ in range(rng.integers(1, 4)):
            corners = int(rng.integers(3, 12))
            points = rng.uniform(-10, 100, 2) + rng.normal(0, rng.choice([1, 8, 40]), (corners, 2))
            rings.append(points.round(int(rng.integers(0, 3))).ravel().tolist())
        if number % 10 == 0:
            x, y = rng.integers(0, 50, 2).tolist()
            rings = [[x, y, x + 9, y, x + 9, y + 7, x, y + 7]]
        truths.append({"image_id": 1, "category_id": 5, "segmentation": rings, "id": number})
    files = coco_files(tmp_path, truths, [], 1, 1)
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(files[0]))
    expected = np.array([coco.annToMask(own) for own in truths])
    found = [
        own | {"score": 1.0, "segmentation": runs_of(mask)}
        for own, mask in zip(truths, expected, strict=True)
    ]
    assert np.median(expected.sum((1, 2))) > 50
    metric = InstanceAveragePrecision.from_coco(*coco_files(tmp_path, truths, found, 1, 1))
    drawn, coded = metric._true[0].masks, metric._found[0].masks
    assert drawn.area.tolist() == coded.area.tolist() == expected.sum((1, 2)).tolist()
    for mask in range(len(truths)):
        assert np.array_equal(pixels_of(drawn, mask, (HEIGHT, WIDTH)), expected[mask]), mask


@pytest.mark.parametrize("way", ["text", "bytes", "lists", "bitmaps", "windows", "integers", "mixed"])
def test_all_ways_to_give_masks_are_one(way):
    truths, found = scene(50, images=4)
    expected = metric_of(truths, found, 3).compute()
    metric = InstanceAveragePrecision(3)
    for image in range(1, 5):
        sides = []
        for side in (found, truths):
            own = [one for one in side if one[0] == image]
            masks = [
                as_given(one[2], way if way != "mixed" else "lists" if image % 2 else "text") for one in own
            ]
            crowd = [one[3] for one in own]
            sides.append(Instances([one[1] for one in own], [one[4] for one in own], masks, crowd=crowd))
        metric.update(*sides, image, size=(HEIGHT, WIDTH))
    assert np.array_equal(metric.compute().precision, expected.precision, equal_nan=True)


def as_given(mask, way):
    if way == "integers":
        return mask * np.int32(300)
    if way == "lists":
        return {"size": mask.shape, "counts": encode_runs(mask).tolist()}
    if way == "bitmaps":
        return Bitmap(0, 0, *mask.shape, encode_runs(mask))
    if way == "windows":
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        window = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return Bitmap(int(columns[0]), int(rows[0]), *window.shape, encode_runs(window))
    runs = runs_of(mask)
    return runs | {"counts": runs["counts"].encode()} if way == "bytes" else runs


def test_values_by_hand():
    """Three truths; found by falling score: one right, one too small, one right, one twice."""
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    found = boxes[[0, 1, 2, 0]] - [[0, 0, 0, 0], [0, 0, 0, 7], [0, 0, 0, 2], [0, 0, 0, 1]]
    prediction = Instances([0] * 4, [0.9, 0.8, 0.7, 0.6], boxes=found)
    metric = InstanceAveragePrecision(1, "box", iou=[0.5, 0.85])
    metric.update(prediction, Instances([0] * 3, boxes=boxes))
    scores = metric.compute()
    # at .5 recall 1/3 at precision 1, then 2/3 at 2/3: 34 and 33 of the 101 recalls
    assert scores.average_precision(0.5) == pytest.approx([(34 + 33 * 2 / 3) / 101])
    assert scores.average_precision(0.85) == pytest.approx([34 / 101])
    assert scores.average_recall(0.5) == pytest.approx([2 / 3])
    assert scores.average_recall(max_detections=1) == pytest.approx([1 / 3])
    assert scores.mean_average_precision() == pytest.approx((34 + 22 + 34) / 202)
    assert average_precision(
        prediction, Instances([0] * 3, boxes=boxes), iou=0.5, kind="box"
    ) == pytest.approx([(34 + 22) / 101])


def test_ignored_truths_excuse_one_detection_and_crowds_any_number():
    prediction = Instances([0, 0, 0], [0.9, 0.8, 0.7], np.repeat(BLOCK, 3, 0))
    other = np.zeros_like(BLOCK)
    other[0, 0, 0] = True
    truth = {"labels": [0, 0], "masks": np.concatenate([BLOCK, other])}
    plain = average_precision(prediction, Instances(**truth), iou=0.5)
    assert plain == pytest.approx([51 / 101])  # one of two found
    # only the other one counts now, and is not found: each detection is wrong or excused
    for flags in ({"ignore": [True, False]}, {"crowd": [True, False]}):
        assert average_precision(prediction, Instances(**truth, **flags), iou=0.5) == [0]
    found = Instances([0] * 4, [0.9, 0.8, 0.7, 0.1], np.concatenate([np.repeat(BLOCK, 3, 0), other]))
    one_excused = average_precision(found, Instances(**truth, ignore=[True, False]), iou=0.5)
    all_excused = average_precision(found, Instances(**truth, crowd=[True, False]), iou=0.5)
    assert one_excused == pytest.approx([1 / 3]) and all_excused == pytest.approx([1])


def test_areas_that_are_given_decide_the_range():
    metric = InstanceAveragePrecision(1)
    metric.update(GOOD, Instances([0], masks=BLOCK, areas=[5000]))
    numbers = metric.compute().summary()
    assert np.isnan(numbers["AP_small"]) and numbers["AP_medium"] == pytest.approx(1)
    metric = InstanceAveragePrecision(1)
    metric.update(GOOD, Instances([0], masks=BLOCK))
    assert metric.compute().summary()["AP_small"] == pytest.approx(1)


def test_an_annotation_may_have_the_id_0(tmp_path):
    """pycocotools takes it for a truth that was not found."""
    record = {"image_id": 1, "category_id": 5, "segmentation": runs_of(blob(np.random.default_rng(0)))}
    files = coco_files(tmp_path, [record | {"id": 0, "iscrowd": 0}], [record | {"score": 1.0}], 1, 1)
    assert InstanceAveragePrecision.from_coco(*files).compute().mean_average_precision() == pytest.approx(1)


def test_the_area_of_a_detected_mask_is_not_that_of_its_box(tmp_path):
    """pycocotools takes the box when the first result has one; here a false alarm would change its range."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    np.fill_diagonal(mask, True)  # 60 pixels in a box of 3,600
    record = {"image_id": 1, "category_id": 5, "segmentation": runs_of(mask)}
    small = np.zeros((HEIGHT, WIDTH), bool)
    small[:5, 80:85] = True
    truth = [record | {"segmentation": runs_of(small), "id": 1}]
    found = [
        record | {"score": 0.9, "bbox": [0, 0, 60, 60]},
        truth[0] | {"score": 0.5, "bbox": [80, 0, 5, 5]},
    ]
    files = coco_files(tmp_path, truth, found, 1, 1)
    assert InstanceAveragePrecision.from_coco(*files).compute().summary()["AP_small"] == pytest.approx(0.5)


@UNTIMED
@given(st.integers(0, 2**32), st.permutations(range(1, 7)))
def test_order_of_images_changes_nothing(seed, order):
    truths, found = scene(seed, images=6)
    expected = metric_of(truths, found, 3).compute()
    parts = {
        image: metric_of(*([o for o in s if o[0] == image] for s in (truths, found)), 3) for image in order
    }
    metric = InstanceAveragePrecision(3)
    for image in order:
        metric.merge(parts[image])
    scores = metric.compute()
    assert np.array_equal(scores.precision, expected.precision, equal_nan=True)
    assert np.array_equal(scores.recall, expected.recall, equal_nan=True)


@UNTIMED
@given(st.integers(0, 2**32))
def test_merge_is_associative(seed):
    truths, found = scene(seed, images=3)

    def fresh(image):
        own = ([one for one in side if one[0] == image] for side in (truths, found))
        return metric_of(*own, 3)

    left, right, inner = fresh(1), fresh(1), fresh(2)
    left.merge(fresh(2))
    left.compute()  # changes nothing
    left.merge(fresh(3))
    inner.merge(fresh(3))
    right.merge(inner)
    assert np.array_equal(left.compute().precision, right.compute().precision, equal_nan=True)


@UNTIMED
@given(st.integers(0, 2**32), st.sampled_from(["mask", "boundary"]))
def test_perfect_detections_give_one(seed, kind):
    truths, _ = scene(seed, images=3)
    scores = metric_of(truths, [(*one[:3], 0, 0.5) for one in truths], 3, kind).compute()
    counted = {one[1] for one in truths if not one[3]}
    assert [k for k in range(3) if not np.isnan(scores.average_precision()[k])] == sorted(counted)
    for values in (scores.average_precision(), scores.average_recall()):
        assert values[sorted(counted)] == pytest.approx(1)


# COCO's files


RECORD = {"image_id": 1, "category_id": 5, "bbox": [1, 2, 3, 4], "segmentation": [[1, 1, 9, 1, 9, 9]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": None}, "result number 1: score should be a number, found None"),
        ({"score": float("nan")}, "score should be a number, found nan"),
        ({"score": "0.5"}, "score should be a number, found 0.5"),
        ({"image_id": 2}, "image_id 2 is none of the images in the truth"),
        ({"image_id": [1]}, "a image_id is neither a number nor text"),
        ({"id": 77, "segmentation": [[1, 1, 9, 1, 9]]}, "result 77: an outline should be a list of x, y"),
        ({"segmentation": [[1, 1, 9, None, 9, 9]]}, "segmentation should hold numbers"),
        ({"segmentation": [[1, 1, 9, float("inf"), 9, 9]]}, "segmentation should hold numbers"),
        ({"segmentation": "13"}, "segmentation should be a list or run lengths"),
        (
            {"segmentation": {"size": [9, 9], "counts": "13"}},
            r"of the image, \[60, 90\], found the size \[9, 9\]",
        ),
        ({"segmentation": {"size": [60, 90], "counts": "1~"}}, "result number 1: .*damaged at character 2"),
        ({"segmentation": {"size": [60, 90], "counts": [0, 9999]}}, "do not fit an image of 90x60"),
        ({"segmentation": {"size": [60, 90], "counts": [0.5]}}, "counts should be whole numbers"),
        ({"segmentation": [], "bbox": []}, "has neither segmentation nor bbox"),
        ({"segmentation": [], "bbox": [1, 2, 3]}, "bbox should be x, y, width, height"),
        ({"segmentation": [], "bbox": [1, 2, 3, "4"]}, "bbox should"),
        ({"segmentation": [], "bbox": [1, 2, 3, -4]}, "bbox should be x, y, width, height"),
    ],
)
def test_bad_results_are_named(tmp_path, change, message):
    files = coco_files(tmp_path, [RECORD | {"id": 1}], [RECORD | {"score": 0.5} | change], 1, 1)
    with pytest.raises(DataError, match=f"found.json: .*{message}"):
        InstanceAveragePrecision.from_coco(*files)


def test_bad_files_are_named(tmp_path):
    good = coco_files(tmp_path, [RECORD | {"id": 1, "area": 9}], [RECORD | {"score": 0.5}], 1, 1)
    content = json.loads(good[0].read_text())
    bad = tmp_path / "bad.json"
    image = content["images"][0]
    for change, message in (
        ({"annotations": 3}, "expected COCO's 'images', 'annotations' and 'categories'"),
        ({"images": []}, "lists no images"),
        ({"images": [{"height": 3}]}, "an image of the list has no id"),
        ({"images": [image, image]}, "two images have the same id"),
        ({"images": [image | {"height": "60"}]}, "no whole number"),
        ({"images": [image, image | {"id": "b"}]}, "all numbers or all text"),
        ({"categories": []}, "lists no categories"),
        ({"categories": [{"name": "cat"}]}, "ids of categories"),
        ({"annotations": [RECORD, 3]}, "annotation number 2: expected an object, found int"),
        ({"annotations": [{"image_id": 1}]}, "annotation number 1: has no category_id"),
        (
            {"annotations": [RECORD | {"area": "big"}]},
            "annotation number 1: area should be a number, found big",
        ),
    ):
        bad.write_text(json.dumps(content | change))
        with pytest.raises(DataError, match=f"bad.json: .*{message}"):
            InstanceAveragePrecision.from_coco(bad, good[1])
    bad.write_text('"nothing"')
    with pytest.raises(DataError, match="bad.json: expected a list of results"):
        InstanceAveragePrecision.from_coco(good[0], bad)
    with pytest.raises(DataError, match="no such file"):
        InstanceAveragePrecision.from_coco(good[0], tmp_path / "none.json")
    with pytest.raises(UsageError, match="unknown kind"):
        InstanceAveragePrecision.from_coco(*good, "keypoints")


def test_the_collector_is_left_as_it_was(tmp_path):
    files = coco_files(tmp_path, [RECORD | {"id": 1}], [RECORD | {"score": 0.5}], 1, 1)
    assert gc.isenabled()
    InstanceAveragePrecision.from_coco(*files)
    assert gc.isenabled()
    with pytest.raises(DataError):
        InstanceAveragePrecision.from_coco(files[0], files[0])
    assert gc.isenabled()
    gc.disable()
    try:
        InstanceAveragePrecision.from_coco(*files)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_is_left_out_is_reported(tmp_path):
    truths = [
        RECORD | {"id": 1},
        RECORD | {"id": 2, "category_id": 99},
        RECORD | {"id": 3, "image_id": 99},
        RECORD | {"id": 4, "segmentation": [[1, 1, 9, 1, 9, 9], [0, 0, 5, 5]]},
    ]
    found = [RECORD | {"score": 0.5}, RECORD | {"score": 0.5, "category_id": 99}]
    metric = InstanceAveragePrecision.from_coco(*coco_files(tmp_path, truths, {"annotations": found}, 1, 1))
    assert repr(metric) == "InstanceAveragePrecision(1 classes, mask, 1 images, 1 detections, 2 truths)"
    reported = {
        problem.code: [file.split(": ", 1)[1] for file in problem.files] for problem in metric.problems
    }
    assert reported["unknown_image_id"] == ["annotation 3: image_id 99"]
    assert reported["small_ring"] == ["annotation 4"]
    codes = [problem.code for problem in metric.problems]
    assert codes == ["unknown_category_id", "unknown_image_id", "small_ring", "unknown_category_id"]
    assert metric.compute().mean_average_precision() == pytest.approx(51 / 101)
