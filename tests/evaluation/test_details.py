"""What an evaluation says beside its counts, when asked."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from pixelwise.errors import UsageError
from pixelwise.evaluation import Details, Evaluation, evaluate
from pixelwise.evaluation.details import DetailsCounter
from pixelwise.labels import LabelMap
from pixelwise.metrics import BoundaryF1, Calibration, SizeIoU
from pixelwise.sample import Dataset, Sample

LABELS = LabelMap(("road", "car", "sky"))


class Sure:
    """Says what the first channel says, with a confidence of 80 %."""

    labels = LABELS

    def predict(self, image, probabilities=False):
        mask = image[..., 0].astype(np.uint8)
        chances = np.full((3, *mask.shape), 0.1, np.float32)
        np.put_along_axis(chances, mask[None].astype(int), 0.8, 0)
        return SimpleNamespace(mask=mask, probabilities=chances if probabilities else None)


def scenes(count=4):
    rng = np.random.default_rng(0)
    for _ in range(count):
        true = np.zeros((40, 60), np.uint8)
        true[5:20, 5:30], true[25:, 30:] = 1, 2
        true[0, :5] = 255
        guess = np.roll(true, int(rng.integers(1, 4)), axis=1)
        guess[guess == 255] = 0
        yield true, guess


def dataset(pairs, labels=LABELS):
    def open_pair(pair):
        return Sample(np.repeat(pair[1][..., None], 3, 2), pair[0])

    return Dataset(list(pairs), open_pair, labels, name="scenes")


def test_the_numbers_are_those_of_the_metrics():
    found = Details(**evaluate(Sure(), dataset(scenes()), details=True).details)
    outlines, sizes, calibration = BoundaryF1(3), SizeIoU(3), Calibration()
    for true, guess in scenes():
        outlines.update(guess, true)
        sizes.update(guess, true)
        calibration.update(Sure().predict(guess[..., None], True).probabilities, true)
    assert found.boundary_f1 == outlines.mean_f1()
    assert found.per_class["car"]["boundary_f1"] == outlines.f1()[1]
    assert found.per_class["car"]["small"] == sizes.iou()[1, 0]
    assert found.sizes["large"] is None
    assert found.calibration["expected_error"] == calibration.expected_error()
    assert found.bands["mean_iou"][0] < found.bands["mean_iou"][-1]


def test_perfect():
    found = evaluate(
        Sure(), dataset((true, np.where(true == 255, 0, true)) for true, _ in scenes()), details=True
    )
    details = Details(**found.details)
    assert details.boundary_f1 == details.boundary_iou == details.mean_average_precision == 1
    assert details.calibration["expected_error"] == pytest.approx(0.2)


def test_classes_in_another_order():
    turned = LabelMap(("sky", "road", "car"))
    table = turned.lookup_from(LABELS)[0]
    same = evaluate(Sure(), dataset(((table[true], guess) for true, guess in scenes()), turned), details=True)
    assert same.details == evaluate(Sure(), dataset(scenes()), details=True).details


def test_saved_and_printed(tmp_path):
    result = evaluate(Sure(), dataset(scenes()), details=True)
    result.save(tmp_path / "e.json")
    assert Evaluation.load(tmp_path / "e.json").details == json.loads(json.dumps(result.details))
    assert "outlines: boundary F1" in result.text()
    assert "outlines" not in evaluate(Sure(), dataset(scenes())).text()


def test_one_class():
    with pytest.raises(UsageError, match="at least two classes"):
        DetailsCounter(LabelMap(("all",)))
