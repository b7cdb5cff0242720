import copy
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import pixelwise as pw
from pixelwise.data import check
from pixelwise.metrics import ConfusionMatrix
from pixelwise.training.config import make_config
from pixelwise.training.loader import epoch_order, train_batches
from pixelwise.training.loop import Trainer
from pixelwise.training.plan import make_plan, split_data
from pixelwise.training.run import RunFolder

QUICK = {"size": "64x48", "batch": 4, "lr": 1e-3, "precision": "fp32", "workers": 2}


def make_trainer(shapes, path, **settings) -> Trainer:
    """A trainer on the shapes, without the export that pw.train does afterwards."""
    data = pw.read(shapes)
    train_set, val_set, _ = split_data(data, 0.2, 0)
    plan = make_plan(make_config(QUICK | settings), train_set, check(data))
    folder = RunFolder(path)
    folder.create(plan.config, plan.to_dict(), {"path": str(shapes)}, {})
    return Trainer(plan.config, train_set, val_set, folder)


def resume_trainer(shapes, path) -> Trainer:
    data = pw.read(shapes)
    train_set, val_set, _ = split_data(data, 0.2, 0)
    folder, config, _ = RunFolder.open(path)
    trainer = Trainer(config, train_set, val_set, folder)
    trainer.resume()
    return trainer


def tensors(path) -> dict[str, torch.Tensor]:
    state = torch.load(path, weights_only=True)
    return state["network"] | {f"average.{name}": value for name, value in state["average"].items()}


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_a_run_leaves_everything_in_its_folder(run):
    expected = ["config.yaml", "plan.json", "metrics.jsonl", "checkpoints/last.ckpt", "checkpoints/best.ckpt"]
    for name in [*expected, "bundle/bundle.json", "evaluation.json", "report.html"]:
        assert (run / name).is_file(), name
    assert list(run.glob("events*"))
    kinds = {json.loads(line)["kind"] for line in (run / "metrics.jsonl").read_text().splitlines()}
    assert kinds == {"train", "val"}


def test_it_learns(run):
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["mean_iou"] > 0.7


def test_evaluate_equals_scoring_the_predicted_files(run, shapes, tmp_path):
    from pixelwise.io import read_mask

    data = pw.read(shapes, split="val")
    evaluation = pw.evaluate(run, data)
    segmenter = pw.load(run)
    matrix = ConfusionMatrix(3)
    for sample in data:
        segmenter.predict(sample.path).save(tmp_path / f"{sample.name}.png")
        matrix.update(read_mask(tmp_path / f"{sample.name}.png"), read_mask(sample.meta["mask_path"]))
    np.testing.assert_array_equal(matrix.counts, evaluation.confusion.counts)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(shapes, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_trainer(shapes, tmp_path / name, max_steps=3, seed=seed).fit()
    first, second, other = (tensors(tmp_path / name / "checkpoints" / "last.ckpt") for name in "abc")
    assert_same_weights(first, second)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_stopping_in_an_epoch_and_resuming_is_exact(shapes, tmp_path):
    settings = {"epochs": 4, "batch": 2, "accumulate": 2}
    make_trainer(shapes, tmp_path / "whole", **settings).fit()

    interrupted = make_trainer(shapes, tmp_path / "parts", **settings)

    def interrupt(line):
        if interrupted.step == 4:
            interrupted.interrupt("stopped by a test")

    original = interrupted.optimise
    interrupted.optimise = lambda: (original(), interrupt(None))[0]
    run = interrupted.fit()
    assert not run.finished
    assert interrupted.batch_in_epoch > 0

    run = resume_trainer(shapes, tmp_path / "parts").fit()
    assert run.finished
    assert_same_weights(*(tensors(tmp_path / n / "checkpoints" / "last.ckpt") for n in ("whole", "parts")))
    whole, parts = (
        [json.loads(line) for line in (tmp_path / n / "metrics.jsonl").read_text().splitlines()]
        for n in ("whole", "parts")
    )
    scores = [[line["mean_iou"] for line in lines if line["kind"] == "val"] for lines in (whole, parts)]
    assert scores[0] == scores[1]


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.training.test_training import make_trainer, resume_trainer
path = Path(sys.argv[2])
make = resume_trainer if (path / "checkpoints" / "last.ckpt").exists() else make_trainer
trainer = make(sys.argv[1], path) if make is resume_trainer else make(sys.argv[1], path, epochs=6)
run = trainer.fit()
sys.exit(0 if run.finished else 1)
"""


def start_worker(shapes, path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WORKER, str(shapes), str(path), os.getcwd()])


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline, "it did not get that far"
        time.sleep(0.05)


def test_killed_and_resumed_gives_the_same_weights_bit_for_bit(shapes, tmp_path):
    make_trainer(shapes, tmp_path / "whole", epochs=6).fit()

    killed = tmp_path / "killed"
    process = start_worker(shapes, killed)
    metrics = killed / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and '"epoch": 2' in metrics.read_text(), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (killed / "checkpoints" / "last.ckpt").exists()

    assert start_worker(shapes, killed).wait(timeout=240) == 0
    assert_same_weights(*(tensors(p / "checkpoints" / "last.ckpt") for p in (tmp_path / "whole", killed)))
    assert_same_weights(
        *(
            torch.load(p / "checkpoints" / "best.ckpt", weights_only=True)["network"]
            for p in (tmp_path / "whole", killed)
        )
    )
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    steps = [line["step"] for line in lines if line["kind"] == "val"]
    assert steps == sorted(set(steps))


def test_sigterm_saves_and_says_how_to_go_on(shapes, tmp_path):
    path = tmp_path / "run"
    command = [sys.executable, "-m", "pixelwise", "train", "--data", str(shapes), "--out", str(path)]
    command += ["--size", "64x48", "--batch", "2", "--epochs", "500", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (path / "metrics.jsonl").exists(), process)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"stopped by SIGTERM; nothing is lost: pixelwise train --resume {path}" in output
    assert "Traceback" not in errors
    assert (path / "checkpoints" / "last.ckpt").is_file()


def test_two_processes_train_one_model_and_count_every_image_once(shapes, tmp_path):
    path = tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "pixelwise", "train", "--data", str(shapes), "--out", str(path)]
    command += ["--size", "64x48", "--batch", "4", "--max-steps", "4", "--precision", "fp32", "--quiet"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=400, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    validations = [line for line in lines if line["kind"] == "val"]
    assert [line["step"] for line in validations] == sorted({line["step"] for line in validations})

    # One process, the same weights, all validation images: the all-reduced counts gave the same number.
    trainer = make_trainer(shapes, tmp_path / "alone", max_steps=4)
    best = torch.load(path / "checkpoints" / "best.ckpt", weights_only=True)
    trainer.to_judge.load_state_dict(best["network"])
    assert trainer.validate()["mean_iou"] == pytest.approx(best["mean_iou"], abs=2e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "schedule": "poly", "ema": 0.0},
        {"freeze_encoder": True},
        {"freeze_batch_norm": True, "precision": "bf16"},
        {"patches": True, "size": "32x32"},
        {"class_weights": "median", "label_smoothing": 0.1},
    ],
    ids=lambda s: next(iter(s)),
)
def test_every_way_of_training_runs(shapes, tmp_path, settings):
    trainer = make_trainer(shapes, tmp_path / "run", max_steps=2, **settings)
    before = {name: value.clone() for name, value in trainer.raw.state_dict().items()}
    run = trainer.fit()
    assert run.finished
    assert run.steps == 2
    changed = {
        name for name, value in trainer.raw.state_dict().items() if not torch.equal(value, before[name])
    }
    assert any("classifier" in name for name in changed)
    if settings.get("freeze_encoder"):
        assert not any(name.startswith("encoder") for name in changed)
    if settings.get("freeze_batch_norm"):
        assert not any("running" in name for name in changed)


def test_a_binary_head_learns_two_classes(tmp_path):
    from pixelwise import LabelMap, Sample
    from pixelwise.sample import Dataset
    from tests.conftest import draw_shapes

    def make(seed):
        image, mask = draw_shapes(seed)
        return Sample(image, (mask > 0).astype(np.uint8), meta={"name": str(seed)})

    data = Dataset(list(range(6)), make, LabelMap(("background", "object")))
    trainer_data = split_data(data, 0.3, 0)
    plan = make_plan(make_config(QUICK | {"head": "binary", "max_steps": 2}), trainer_data[0], check(data))
    folder = RunFolder(tmp_path / "run")
    trainer = Trainer(plan.config, trainer_data[0], trainer_data[1], folder)
    assert trainer.raw.num_classes == 1
    assert trainer.fit().finished


def test_a_users_transform_runs_and_is_checked(shapes, tmp_path):
    seen = []

    def transform(sample):
        seen.append(sample.image.shape)
        return sample

    data = pw.read(shapes)
    train_set, val_set, _ = split_data(data, 0.2, 0)
    plan = make_plan(make_config(QUICK | {"max_steps": 1}), train_set, check(data))
    folder = RunFolder(tmp_path / "run")
    Trainer(plan.config, train_set, val_set, folder, transform=transform).fit()
    assert set(seen) == {(48, 64, 3)}


def test_layers_learn_at_their_own_rates(shapes, tmp_path):
    trainer = make_trainer(shapes, tmp_path / "run", max_steps=1, encoder_lr=0.5, layer_decay=0.5)
    rates = {
        id(p): group["relative_rate"] for group in trainer.optimizer.param_groups for p in group["params"]
    }
    encoder = [rates[id(p)] for p in trainer.raw.encoder_parameters()]
    assert {rates[id(p)] for p in trainer.raw.head_parameters()} == {1.0}
    assert encoder == sorted(encoder)
    assert encoder[-1] == 0.5
    assert encoder[0] < 0.05


@pytest.mark.parametrize("settings", [{"max_steps": 3}, {"epochs": 50, "patience": 1, "lr": 1e-9}])
def test_resuming_a_run_that_reached_its_limit_adds_nothing(shapes, tmp_path, settings):
    run = make_trainer(shapes, tmp_path / "run", **settings).fit()
    before = tensors(tmp_path / "run" / "checkpoints" / "last.ckpt")
    again = resume_trainer(shapes, tmp_path / "run").fit()
    assert again.finished
    assert (again.steps, again.reason) == (run.steps, run.reason)
    assert_same_weights(before, tensors(tmp_path / "run" / "checkpoints" / "last.ckpt"))


def test_a_full_disk_is_one_sentence_and_keeps_the_older_checkpoint(shapes, tmp_path, monkeypatch):
    trainer = make_trainer(shapes, tmp_path / "run", max_steps=1)
    trainer.save()
    before = trainer.folder.last.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(pw.PixelwiseError, match=r"last\.ckpt: the disk is full"):
        trainer.fit()
    assert trainer.folder.last.read_bytes() == before
    assert [p.name for p in trainer.folder.last.parent.iterdir()] == ["last.ckpt"]


def test_options_of_reading_are_refused_for_a_data_set(shapes):
    with pytest.raises(pw.UsageError, match="the data set has been read"):
        pw.train(pw.read(shapes), labels=["a"])


def test_early_stopping_ends_without_progress(shapes, tmp_path):
    run = make_trainer(shapes, tmp_path / "run", epochs=50, patience=1, lr=1e-9).fit()
    assert run.reason == "no progress in 1 validations"
    assert run.steps < 100


def test_training_stops_at_bad_data(shapes, tmp_path):
    import shutil

    broken = shutil.copytree(shapes, tmp_path / "data")
    picture = next((broken / "images" / "train").iterdir())
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(pw.DataError, match=picture.name):
        pw.train(broken, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_folder_is_not_overwritten(run, shapes):
    with pytest.raises(pw.UsageError, match="already holds a run"):
        pw.train(shapes, out=run)


def test_a_checkpoint_of_another_architecture_is_refused(shapes, tmp_path):
    make_trainer(shapes, tmp_path / "run", max_steps=1).fit()
    folder, config, _ = RunFolder.open(tmp_path / "run")
    data = pw.read(shapes)
    other = Trainer(config.model_copy(update={"arch": "unet"}), data, data, folder)
    with pytest.raises(pw.DataError, match="of a network with name 'deeplabv3plus', .* make 'unet'"):
        other.resume()


def test_a_damaged_checkpoint_is_one_sentence(shapes, tmp_path):
    trainer = make_trainer(shapes, tmp_path / "run", max_steps=1)
    trainer.folder.last.parent.mkdir()
    trainer.folder.last.write_bytes(b"nonsense")
    with pytest.raises(pw.DataError, match=r"last\.ckpt: not a readable checkpoint"):
        trainer.resume()


def test_resuming_needs_a_run(tmp_path):
    with pytest.raises(pw.UsageError, match="not a run folder"):
        pw.train(resume=tmp_path)


def _first_batch(trainer):
    order = epoch_order(len(trainer.train_cache.dataset), 0, 0, 2)
    batches = train_batches(trainer.train_cache, order, trainer.augment, epoch=0, seed=0, threads=0)
    return next(iter(batches))


def test_deeplab_v1_is_judged_at_every_eighth_pixel(shapes, tmp_path):
    options = {
        "arch": "deeplabv1",
        "variant": "paper",
        "options": {"width": 0.125},
        "freeze_batch_norm": True,
    }
    trainer = make_trainer(shapes, tmp_path / "run", batch=2, **options)
    batch = _first_batch(trainer)
    trainer.raw.eval()  # no dropout
    found = trainer.forward_backward(batch)
    logits = trainer.raw(trainer._normalise(batch.pixels))
    torch.testing.assert_close(found, trainer.loss(logits[..., ::8, ::8], batch.target[:, ::8, ::8]).detach())
    assert not torch.allclose(found, trainer.loss(logits, batch.target))


def test_auxiliary_heads_add_to_the_loss(shapes, tmp_path):
    options = {"encoder": "mobilenet_v3_large"}
    trainer = make_trainer(
        shapes, tmp_path / "run", batch=2, arch="deeplabv3", variant="torchvision", max_steps=2, **options
    )
    batch = _first_batch(trainer)
    trainer.raw.train()
    torch.manual_seed(hash((0, 0, 0, 0)) % 2**31)  # the dropout of the step
    output = copy.deepcopy(trainer.raw)(trainer._normalise(batch.pixels))
    parts = [trainer.loss(head, batch.target) for head in (output.logits, *output.auxiliary)]
    assert len(parts) == 2
    torch.testing.assert_close(trainer.forward_backward(batch), (parts[0] + 0.4 * parts[1]).detach())
    trainer.optimizer.zero_grad()
    assert trainer.fit().steps == 2


def test_a_class_id_beyond_the_classes_names_the_file(shapes, tmp_path):
    trainer = make_trainer(shapes, tmp_path / "run", batch=2)
    batch = _first_batch(trainer)
    batch.target[1, 3, 4] = 77
    path = trainer.train_cache.dataset[batch.indices[1]].path
    with pytest.raises(pw.DataError, match=f"^{path}: the target holds class id 77 where"):
        trainer.forward_backward(batch)


def test_options_reach_the_network(shapes, tmp_path):
    trainer = make_trainer(shapes, tmp_path / "run", arch="ksac", options="output_stride=8, rates=[2, 4]")
    assert trainer.raw.aspp.shared.rates == (2, 4)
    assert trainer.raw.arguments["output_stride"] == 8
    for wrong in ("output_stride", "output_stride 8", "[1, 2]", "a=1, b"):
        with pytest.raises(pw.UsageError, match="expected NAME=VALUE"):
            make_config({"options": wrong})
    with pytest.raises(pw.UsageError, match="did you mean 'output_stride'"):
        make_trainer(shapes, tmp_path / "other", options={"output_strid": 8})
