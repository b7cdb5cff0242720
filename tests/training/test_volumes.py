"""Training on volumes, from the data to a bundle that labels volumes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import pixelwise as pw
from pixelwise.augment import apply_window
from pixelwise.data.synthetic import volume_dataset
from pixelwise.metrics import ConfusionMatrix
from pixelwise.sample import Dataset, Volume
from pixelwise.training.config import make_config
from pixelwise.training.loop import Trainer
from pixelwise.training.plan import class_weights, make_plan
from pixelwise.training.run import RunFolder
from pixelwise.training.volumes import inspect_volumes

SIZE = (24, 20, 18)
QUICK = {
    "arch": "unet3d",
    "options": {"width": 0.0625},
    "size": "16x16x12",
    "precision": "fp32",
    "workers": 1,
    "lr": 1e-3,
}


def make_data() -> Dataset[Volume]:
    return volume_dataset(6, size=SIZE, splits={"train": 4, "val": 2})


def make_trainer(path, data=None, **settings) -> Trainer:
    data = data or make_data()
    train_set = data.select("train")
    plan = make_plan(make_config(QUICK | settings), train_set, inspect_volumes(train_set))
    folder = RunFolder(path)
    folder.create(plan.config, plan.to_dict(), {}, {})
    return Trainer(plan.config, train_set, data.select("val"), folder)


@pytest.fixture(scope="module")
def volume_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "ct"
    pw.train(make_data(), out=path, max_steps=6, **QUICK)
    return path


def test_a_run_leaves_a_bundle_that_knows_its_window(volume_run):
    for name in ("config.yaml", "evaluation.json", "report.html", "checkpoints/best.ckpt"):
        assert (volume_run / name).is_file(), name
    manifest = pw.load(volume_run).bundle.manifest
    report = inspect_volumes(make_data().select("train"))
    assert manifest.task == "volume"
    assert manifest.in_channels == 1
    assert manifest.window == pytest.approx(report.window)
    assert manifest.working.tile == (16, 16, 12)
    assert manifest.metrics["images"] == 2
    assert max(manifest.parity[engine] for engine in ("openvino", "onnxruntime")) < 1e-3
    plan = json.loads((volume_run / "plan.json").read_text())
    assert plan["window"].endswith("(0.5 and 99.5 percentile of all classes but the commonest)")


def test_validation_and_evaluation_count_the_same_voxels(volume_run):
    lines = [json.loads(line) for line in (volume_run / "metrics.jsonl").read_text().splitlines()]
    validated = next(line for line in lines if line["kind"] == "val")
    evaluation = json.loads((volume_run / "evaluation.json").read_text())
    assert evaluation["mean_iou"] == pytest.approx(validated["mean_iou"], abs=2e-3)  # float16 weights


def test_every_engine_labels_volumes_alike_at_their_size(volume_run):
    volume = make_data()[5]
    masks = {}
    for engine in ("openvino", "onnxruntime", "torch"):
        segmenter = pw.load(volume_run, engine=engine, precision="fp32")
        labelled = segmenter.predict_volume(volume)
        assert labelled.mask.shape == SIZE
        np.testing.assert_array_equal(labelled.affine, volume.affine)
        small = segmenter.predict_volume(Volume(volume.array[:7, :9, :8].astype(np.float32)))
        assert small.mask.shape == (7, 9, 8)
        masks[engine] = labelled.mask
    for mask in masks.values():
        assert (mask != masks["torch"]).mean() < 1e-3


def test_evaluate_equals_counting_the_predictions(volume_run):
    segmenter = pw.load(volume_run)
    data = make_data().select("val")
    matrix = ConfusionMatrix(3)
    for volume in data:
        matrix.update(segmenter.predict_volume(volume).mask, volume.mask)
    evaluation = pw.evaluate(segmenter, data)
    np.testing.assert_array_equal(matrix.counts, evaluation.confusion.counts)
    assert [score.name for score in evaluation.images] == ["ct_0005", "ct_0006"]


def test_images_and_volumes_are_not_mistaken_for_each_other(volume_run, shapes, tmp_path):
    with pytest.raises(pw.UsageError, match=r"holds volumes, but 'unet' labels images; use --arch unet3d"):
        pw.train(make_data(), arch="unet", out=tmp_path / "a")
    with pytest.raises(pw.UsageError, match="holds images, but 'unet3d' labels volumes"):
        pw.train(shapes, arch="unet3d", out=tmp_path / "b")
    with pytest.raises(pw.UsageError, match="use predict_volume"):
        pw.load(volume_run).predict(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(pw.UsageError, match="the model labels volumes"):
        pw.evaluate(volume_run, pw.read(shapes))
    with pytest.raises(pw.DataError, match="1 channel"):
        pw.load(volume_run).predict_volume(Volume(np.zeros((9, 9, 9, 2))))
    with pytest.raises(pw.UsageError, match="at least 8 px on each of 3 sides"):
        pw.load(volume_run, tile=(16, 16))


def test_stopping_and_resuming_is_exact(tmp_path):
    make_trainer(tmp_path / "whole", max_steps=4).fit()
    interrupted = make_trainer(tmp_path / "parts", max_steps=4)
    original = interrupted.optimise

    def optimise() -> float:
        rate = original()
        if interrupted.step == 3:
            interrupted.interrupt("stopped by a test")
        return rate

    interrupted.optimise = optimise
    assert not interrupted.fit().finished

    folder, config, _ = RunFolder.open(tmp_path / "parts")
    data = make_data()
    resumed = Trainer(config, data.select("train"), data.select("val"), folder)
    resumed.resume()
    assert resumed.fit().finished
    whole, parts = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["network"]
        for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_what_the_network_sees_is_windowed_and_has_its_channels(tmp_path):
    plain = make_data()

    def two_channels(index: int) -> Volume:
        volume = plain[index]
        return replace(volume, array=np.stack([volume.array, volume.array], axis=-1))

    splits = ["train"] * 4 + ["val"] * 2
    data = Dataset(range(6), two_channels, plain.labels, splits=splits)
    trainer = make_trainer(tmp_path / "run", data, max_steps=1, colour=0.0, window="-100,200", head="softmax")
    assert trainer.raw.in_channels == 2
    seen = []
    original = trainer.forward_backward
    trainer.forward_backward = lambda batch, *rest: (seen.append(batch), original(batch, *rest))[1]
    assert trainer.fit().finished
    assert seen[0].pixels.shape == (2, 16, 16, 12, 2)
    assert seen[0].pixels.dtype == torch.float32
    assert seen[0].target.shape == (2, 16, 16, 12)
    possible = apply_window(np.arange(-1024, 3072), (-100, 200))
    assert np.isin(seen[0].pixels.numpy(), possible).all()


def test_the_plan_answers_every_question():
    report = inspect_volumes(make_data().select("train"))
    plan = make_plan(make_config({"arch": "unet3d"}), make_data(), report)
    config = plan.config
    assert config.size == SIZE  # small enough to be taken whole
    assert (config.patches, config.batch, config.epochs, config.lr) == (True, 2, 500, 1e-3)
    assert config.validate_every == 50
    assert config.class_weights == "sqrt-median"
    assert set(plan.reasons) >= {"size", "window", "batch", "epochs", "validate_every"}
    large = replace(report, shapes=np.array([[512, 512, 128]]))
    assert make_plan(make_config({"arch": "unet3d"}), make_data(), large).config.size == (104, 104, 24)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rotate": 10}, "'rotate' is for images"),
        ({"encoder": "resnet18"}, "'encoder' is for images"),
        ({"size": "64x64"}, "three sides"),
        ({"size": "64x64x4"}, "at least 8 voxels"),
        ({"window": "200,-100"}, "low < high"),
    ],
)
def test_settings_that_volumes_do_not_know_are_refused(settings, message):
    train_set = make_data().select("train")
    with pytest.raises(pw.UsageError, match=message):
        make_plan(make_config({"arch": "unet3d"} | settings), train_set, inspect_volumes(train_set))


def test_settings_of_volumes_are_refused_for_images(shapes):
    for settings in ({"window": "0,100"}, {"size": "64x64x64"}):
        with pytest.raises(pw.UsageError, match="are for volumes"):
            make_plan(make_config(settings), pw.read(shapes), pw.check(shapes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: replace(v, mask=None), "no mask"),
        (lambda v: replace(v, mask=v.mask + 7), "expected 0..2 or 255"),
        (lambda v: replace(v, mask=np.full_like(v.mask, 255)), "no voxel of 4 training volumes has a class"),
        (lambda v: replace(v, mask=v.mask[:-1]), "on one grid"),
    ],
)
def test_bad_volumes_are_one_sentence(change, message):
    plain = make_data()
    data = Dataset(range(4), lambda index: change(plain[index]), plain.labels)
    with pytest.raises(pw.DataError, match=message):
        inspect_volumes(data)


def test_class_weights_are_median_frequency():
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[:4, :4, :4] = 1
    data = Dataset([0], lambda _: Volume(mask.astype(np.int16), mask=mask), pw.LabelMap(("a", "b", "c")))
    weights = class_weights("median", data, inspect_volumes(data))
    np.testing.assert_allclose(weights, [0.5 / (7 / 8), 0.5 / (1 / 8), 1.0])
