"""The border map on its way from a sample's instances to the loss."""

import numpy as np
import pytest
import torch

import pixelwise as pw
from pixelwise.data import check
from pixelwise.errors import DataError, UsageError
from pixelwise.kernels.distance import border_weights
from pixelwise.sample import Dataset, Sample
from pixelwise.training.borders import connected_parts, with_needed_weights
from pixelwise.training.config import make_config
from pixelwise.training.loader import SampleCache
from pixelwise.training.loop import Trainer
from pixelwise.training.plan import make_plan
from pixelwise.training.run import RunFolder

LABELS = pw.LabelMap(("background", "cell"))
NEEDS = {"border": {"w0": 10.0, "sigma": 5.0}}
QUICK = {"size": "64x48", "batch": 2, "precision": "fp32", "workers": 2, "epochs": 2, "arch": "unet"}


def draw_cells(seed: int) -> Sample:
    """Two cells that nearly touch, in a noisy picture of 48x64 pixels."""
    rng = np.random.default_rng(seed)
    instances = np.zeros((48, 64), np.int32)
    left = rng.integers(20, 36)
    instances[10:38, left - 16 : left] = 5
    instances[10:38, left + 3 : left + 19] = 9
    image = (150 * (instances > 0)[..., None] + rng.normal(60, 10, (48, 64, 3))).clip(0, 255)
    mask = (instances > 0).astype(np.uint8)
    return Sample(image.astype(np.uint8), mask, instances=instances, meta={"name": str(seed)})


def cells(count: int, **changes) -> Dataset[Sample]:
    return Dataset(range(count), lambda seed: draw_cells(seed).replace(**changes), LABELS, name="cells")


def make_trainer(path, loss: str, train_set: Dataset[Sample] | None = None, **settings) -> Trainer:
    train_set = cells(4) if train_set is None else train_set
    still = {"scale_range": (1.0, 1.0), "rotate": 0, "flip": 0, "colour": 0}
    config = make_config(QUICK | {"loss": loss, "class_weights": "none"} | still | settings)
    plan = make_plan(config, train_set, check(train_set))
    folder = RunFolder(path)
    folder.create(plan.config, plan.to_dict(), {"path": ""}, {})
    return Trainer(plan.config, train_set, cells(2), folder)


def batches_of(trainer: Trainer) -> list:
    """What the network is fed in a training, step by step."""
    seen = []
    original = trainer.forward_backward

    def watch(batch, *rest):
        seen.append(batch)
        return original(batch, *rest)

    trainer.forward_backward = watch
    trainer.fit()
    return seen


def test_a_training_feeds_the_border_to_the_loss(tmp_path):
    trainer = make_trainer(tmp_path, "unet_weighted(w0=4) + 0.5*dice")
    raised = []
    original = trainer.loss.forward

    def watch(logits, target, weight=None):
        value = original(logits, target, weight)
        if weight is not None:
            raised.append((value - original(logits, target, None)).item())
        return value

    trainer.loss.forward = watch
    batches = batches_of(trainer)
    assert len(batches) == 4
    for batch in batches:
        for index, weight in zip(batch.indices, batch.weight.numpy(), strict=True):
            expected = border_weights(draw_cells(index).instances, w0=4)
            assert expected.max() > 2
            np.testing.assert_allclose(weight, expected, atol=1e-6)
    assert len(raised) == 4 and min(raised) > 0


def test_the_border_moves_with_the_image(tmp_path):
    trainer = make_trainer(tmp_path, "unet_weighted", flip=1.0)
    for batch in batches_of(trainer):
        for index, weight, target in zip(batch.indices, batch.weight, batch.target, strict=True):
            sample = draw_cells(index)
            np.testing.assert_array_equal(target, sample.mask[:, ::-1])
            np.testing.assert_allclose(weight, border_weights(sample.instances)[:, ::-1], atol=1e-6)


def test_other_losses_see_no_border(tmp_path):
    border = np.zeros((48, 64), np.float32)
    trainer = make_trainer(tmp_path, "cross_entropy", cells(4, weights={"border": border}))
    assert all(batch.weight is None for batch in batches_of(trainer))


def test_stopping_and_resuming_is_exact(tmp_path):
    make_trainer(tmp_path / "whole", "unet_weighted").fit()

    parts = make_trainer(tmp_path / "parts", "unet_weighted")
    original = parts.optimise

    def optimise():
        rate = original()
        if parts.step == 1:
            parts.interrupt("stopped by a test")
        return rate

    parts.optimise = optimise
    assert not parts.fit().finished
    folder, config, _ = RunFolder.open(tmp_path / "parts")
    resumed = Trainer(config, cells(4), cells(2), folder)
    resumed.resume()
    assert resumed.fit().finished
    states = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["network"]
        for name in ("whole", "parts")
    ]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


def test_a_map_is_computed_once_per_sample():
    calls = []

    def prepare(sample):
        calls.append(sample)
        return with_needed_weights(sample, NEEDS, 255)

    cache = SampleCache(cells(2), 1 << 20)
    cache.prepare = prepare
    first = cache[0].weights["border"]
    assert cache[0].weights["border"] is first
    assert len(calls) == 1


def test_without_instances_they_are_the_connected_parts_of_the_classes():
    sample = draw_cells(0)
    expected = with_needed_weights(sample, NEEDS, 255).weights["border"]
    found = with_needed_weights(sample.replace(instances=None), NEEDS, 255).weights["border"]
    assert found.any()
    np.testing.assert_array_equal(found, expected)


def test_classes_that_touch_are_parts_of_their_own():
    mask = np.array([[1, 2, 2, 0, 1], [1, 0, 0, 1, 0], [255, 0, 2, 0, 0]], np.uint8)
    parts = connected_parts(mask, ignore=255)
    assert parts.dtype == np.int32
    groups = [parts == label for label in np.unique(parts) if label]
    assert sorted(int(group.sum()) for group in groups) == [1, 2, 2, 2]
    assert ((parts == 0) == ((mask == 0) | (mask == 255))).all()
    assert not connected_parts(np.full((2, 3), 255, np.uint8), ignore=255).any()


def test_ignored_pixels_belong_to_no_instance():
    sample = draw_cells(0)
    mask = sample.mask.copy()
    mask[sample.instances == 9] = 255
    assert not with_needed_weights(sample.replace(mask=mask), NEEDS, 255).weights["border"].any()


def test_a_samples_own_map_is_taken():
    own = np.full((48, 64), 2, np.float32)
    sample = draw_cells(0).replace(weights={"border": own})
    assert with_needed_weights(sample, NEEDS, 255).weights["border"] is own


def test_other_maps_stay_where_no_border_is_needed():
    trust = np.full((48, 64), 0.5, np.float32)
    sample = draw_cells(0).replace(weights={"border": trust, "trust": trust})
    assert list(with_needed_weights(sample, {}, 255).weights) == ["trust"]
    with pytest.raises(UsageError, match="the weight map 'border' and no other, found trust"):
        with_needed_weights(sample, NEEDS, 255)


def test_bad_samples_are_named():
    with pytest.raises(DataError, match="0: no mask"):
        with_needed_weights(draw_cells(0).replace(mask=None), NEEDS, 255)
    with pytest.raises(DataError, match="the image is 64x48 pixels but its instances 5x5"):
        with_needed_weights(draw_cells(0).replace(instances=np.eye(5, dtype=np.int32)), NEEDS, 255)


def test_instances_are_not_painted_for_nothing():
    """Only border maps and a transform of the user's own have a use for them."""
    painted = []

    def paint():
        painted.append(1)
        return np.zeros((8, 8), np.int32)

    def opened(record):
        return Sample(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), instances=paint)

    data = Dataset([0], opened, LABELS)
    assert SampleCache(data, 1 << 20)[0].instances is None and not painted
    assert SampleCache(data, 1 << 20, keep_instances=True)[0].instances is not None and painted
