import json
from types import SimpleNamespace

import numpy as np
import pytest

from pixelwise.errors import DataError, UsageError
from pixelwise.evaluation import Evaluation, evaluate, pick_examples
from pixelwise.io import write_image
from pixelwise.labels import LabelMap
from pixelwise.metrics import ConfusionMatrix
from pixelwise.sample import Dataset, Sample

LABELS = LabelMap(("road", "car", "sky"), ((90, 90, 90), (200, 0, 0), (0, 0, 200)))


class Painter:
    """A segmenter that reads the class off the first channel, and so is right unless an image misleads it."""

    labels = LABELS

    def predict(self, image):
        return SimpleNamespace(mask=image[..., 0].astype(np.uint8))


class ManyPainter(Painter):
    """Reads ahead, as a real one does."""

    def predict(self, image):
        raise AssertionError("predict_many is there")

    def predict_many(self, images):
        yield from [Painter().predict(image) for image in images]


def image_of(mask):
    return np.repeat(mask[:, :, None], 3, axis=2).astype(np.uint8)


def dataset_of(masks, predictions=None, labels=LABELS, **options):
    predictions = masks if predictions is None else predictions
    pairs = list(zip(masks, predictions, range(len(masks)), strict=True))
    return Dataset(
        pairs,
        lambda r: Sample(image_of(r[1]), r[0], meta={"name": f"image {r[2]}"}),
        labels,
        name="tiny",
        **options,
    )


def random_masks(count, seed=0, size=(8, 12)):
    return list(np.random.default_rng(seed).integers(0, 3, (count, *size), dtype=np.uint8))


@pytest.mark.parametrize("segmenter", [Painter(), ManyPainter()])
def test_counts_are_those_of_the_whole_set(segmenter):
    masks, predictions = random_masks(6), random_masks(6, seed=1)
    masks[2][:3] = LABELS.ignore
    data = dataset_of(masks, predictions, splits=["val"] * 6)
    events = []
    result = evaluate(segmenter, data, events.append)
    expected = ConfusionMatrix(3)
    expected.update(np.stack(predictions), np.stack(masks))
    assert np.array_equal(result.confusion.counts, expected.counts)
    assert (result.name, result.split, len(result.images), result.skipped) == ("tiny", "val", 6, ())
    alone = ConfusionMatrix(3)
    alone.update(predictions[2], masks[2])
    assert result.images[2].mean_iou == alone.mean_iou()
    assert result.images[2].pixel_accuracy == alone.pixel_accuracy()
    assert result.images[2].name == "image 2" and result.images[2].pixels == 5 * 12
    assert events[-1] == {"kind": "evaluate", "done": 6, "total": 6}


def test_classes_are_matched_by_name_and_the_rest_is_reported():
    data_labels = LabelMap(("sky", "tree", "road"))
    true = np.array([[0, 0, 1, 1, 2, 255]], np.uint8)
    predicted = np.array([[2, 0, 1, 1, 0, 1]], np.uint8)
    result = evaluate(Painter(), dataset_of([true], [predicted], data_labels))
    assert result.unmatched == {"tree": 2}
    assert result.confusion.counts.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert "tree (2 pixels)" in result.text()


def test_no_common_class_is_an_error():
    with pytest.raises(
        DataError, match="tiny: no class matches the model's by name; the data has x, y, the model road"
    ):
        evaluate(Painter(), dataset_of(random_masks(1), labels=LabelMap(("x", "y"))))


def test_images_without_a_mask_are_skipped_and_listed():
    masks = random_masks(3)
    records = [
        Sample(image_of(m), None if i == 1 else m, meta={"name": f"n{i}"}) for i, m in enumerate(masks)
    ]
    events = []
    result = evaluate(ManyPainter(), Dataset(records, lambda record: record, LABELS), events.append)
    assert events[-1]["done"] == events[-1]["total"] == 3
    assert result.skipped == ("n1",) and [score.index for score in result.images] == [0, 2]
    assert result.confusion.mean_iou() == 1 and "1 images (n1)" in result.text()
    with pytest.raises(DataError, match="none of the 1 images has a mask"):
        evaluate(Painter(), Dataset(records[1:2], lambda record: record, LABELS))


def test_bad_masks_name_their_file(tmp_path):
    path = tmp_path / "street.png"
    write_image(path, image_of(random_masks(1)[0]))

    def data(mask):
        return Dataset([mask], lambda m: Sample(image_of(random_masks(1)[0]), m, path=path), LABELS)

    with pytest.raises(DataError, match=r"street.png: the target holds class id 3, expected 0\.\.2"):
        evaluate(Painter(), data(np.full((8, 12), 3, np.uint8)))
    with pytest.raises(DataError, match=r"street.png: the mask is 4x4 but the prediction, .* is 8x12"):
        evaluate(Painter(), data(np.zeros((4, 4), np.uint8)))


def test_dictionary_has_the_promised_keys_and_no_nan():
    true = np.array([[0, 0, 1, 1]], np.uint8)
    result = evaluate(Painter(), dataset_of([true], [np.array([[0, 1, 1, 1]], np.uint8)]))
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert found["mean_iou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["pixel_accuracy"] == 0.75
    assert found["frequency_weighted_iou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["mean_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["per_class"]["road"] == pytest.approx(
        {"iou": 0.5, "f1": 2 / 3, "precision": 1, "recall": 0.5}
    )
    assert found["per_class"]["sky"] == {"iou": None, "f1": None, "precision": None, "recall": None}
    assert found["images"] == 1 and found["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert found["data"] == {"name": "tiny", "split": None} and found["class_names"] == ["road", "car", "sky"]


def test_save_and_load(tmp_path):
    path = tmp_path / "evaluation.json"
    result = evaluate(Painter(), dataset_of(random_masks(4), random_masks(4, seed=5), splits=["val"] * 4))
    result.save(path)
    again = Evaluation.load(path)
    assert again.to_dict() == json.loads(path.read_text())
    assert again.labels == LABELS and again.interval() == result.interval() and again.text() == result.text()
    path.write_text(path.read_text()[:-40])
    with pytest.raises(DataError, match=r"evaluation.json: not an evaluation, or damaged"):
        Evaluation.load(path)
    with pytest.raises(DataError, match="no such evaluation"):
        Evaluation.load(tmp_path / "other.json")


def test_table_shows_a_dash_for_absent_classes():
    true = np.array([[0, 0, 0, 1]], np.uint8)
    lines = evaluate(Painter(), dataset_of([true], [np.zeros_like(true)])).text().splitlines()
    assert lines[1].split() == ["road", "75.0", "85.7", "75.0", "100.0", "75.0"]
    assert lines[2].split() == ["car", "0.0", "0.0", "-", "0.0", "25.0"]
    assert lines[3].split() == ["sky", "-", "-", "-", "-", "0.0"]
    assert lines[5].startswith("mean IoU 37.5 (95 % interval 37.5 to 37.5)")


def test_interval_agrees_with_resampling_by_hand():
    result = evaluate(
        Painter(), dataset_of(random_masks(12, size=(3, 4)), random_masks(12, seed=9, size=(3, 4)))
    )
    counts = []
    for true, predicted in zip(
        random_masks(12, size=(3, 4)), random_masks(12, seed=9, size=(3, 4)), strict=True
    ):
        matrix = ConfusionMatrix(3)
        matrix.update(predicted, true)
        counts.append(matrix.counts)
    draws = np.random.default_rng(7).integers(0, 12, (500, 12))
    means = [ConfusionMatrix.from_counts(np.array(counts)[draw].sum(axis=0)).mean_iou() for draw in draws]
    assert result.interval(samples=500, level=0.9, seed=7) == pytest.approx(np.quantile(means, (0.05, 0.95)))
    low, high = result.interval()
    assert low < result.confusion.mean_iou() < high
    narrow = result.interval(level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_interval_without_spread_or_with_impossible_options():
    same = evaluate(Painter(), dataset_of(random_masks(1) * 5, random_masks(1, seed=3) * 5))
    assert same.interval() == pytest.approx((same.confusion.mean_iou(),) * 2)
    empty = Evaluation(LABELS, ConfusionMatrix(3))
    assert np.isnan(empty.interval()).all()
    with pytest.raises(UsageError, match="0 < level < 1"):
        same.interval(level=95)


def test_examples_are_the_best_and_the_worst():
    masks, predictions = random_masks(6), random_masks(6)
    for number, wrong in enumerate((40, 0, 90, 10, 60, 20)):  # pixels changed in each image
        predictions[number].reshape(-1)[:wrong] = (predictions[number].reshape(-1)[:wrong] + 1) % 3
    data = dataset_of(masks, predictions)
    found = pick_examples(evaluate(Painter(), data), data, Painter(), best=2, worst=1)
    assert [(e["group"], e["title"].split(":")[0]) for e in found] == [
        ("worst", "image 2"),
        ("best", "image 1"),
        ("best", "image 3"),
    ]
    assert np.array_equal(found[0]["target"], masks[2]) and np.array_equal(
        found[0]["prediction"], predictions[2]
    )
    few = data[:2]
    assert len(pick_examples(evaluate(Painter(), few), few, Painter())) == 2
