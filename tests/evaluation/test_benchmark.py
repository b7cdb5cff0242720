"""Benchmarks: what is refused, how turns alternate and are summed up, and real processes on a tiny model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pixelwise as pw
from pixelwise.errors import DataError, PixelwiseError, UsageError
from pixelwise.evaluation.benchmark import Measurement, mark_pareto
from pixelwise.inference.engines import ENGINES
from pixelwise.inference.measure import Turn, mask_name, take_turn
from pixelwise.io import read_image, write_mask
from pixelwise.sample import Dataset, Sample, Volume
from tests.conftest import draw_shapes

LABELS = pw.LabelMap(("background", "square", "disc"))
QUICK = {"engines": ["onnxruntime"], "precisions": ["fp32"], "repeat": 1}


@pytest.fixture
def photos(tmp_path):
    """Three pictures of two sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, size in enumerate([(64, 80), (64, 80), (50, 33)]):
        Image.fromarray(draw_shapes(number, size)[0]).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def changed(run, tmp_path):
    """The run's bundle with other words in its manifest."""

    def change(**values) -> Path:
        folder = shutil.copytree(run / "bundle", tmp_path / "-".join(map(str, values.values())))
        manifest = json.loads((folder / "bundle.json").read_text())
        (folder / "bundle.json").write_text(json.dumps(manifest | values))
        return folder

    return change


class Turns:
    """Stands in for the processes: answers at once, with masks of class 0 but for ``differing`` pixels."""

    def __init__(self, differing=None, speeds=None):
        self.taken: list[Turn] = []
        self.differing = differing or {}
        self.speeds = speeds or {}

    def __call__(self, turn: Turn) -> dict:
        self.taken.append(turn)
        answer = {"engine": turn.engine, "precision": turn.precision, "device": "cpu"}
        if not turn.calls:
            for position, file in enumerate(turn.images):
                mask = np.zeros(read_image(file).shape[:2], np.uint8)
                mask.flat[: self.differing.get(turn.precision, 0)] = 1
                write_mask(Path(turn.out) / mask_name(position), mask, LABELS)
        rounds = sum(t.calls > 0 and t.engine == turn.engine for t in self.taken)
        speed = self.speeds.get(turn.engine, [10.0] * 9)[rounds - 1]
        return answer | {
            "latencies": np.linspace(0, 1 / speed, turn.calls or 1).tolist(),
            "images_per_second": speed,
            "start_seconds": 10 / speed,
            "peak_bytes": int(1000 * speed),
        }


@pytest.fixture
def turns(monkeypatch):
    def use(**options) -> Turns:
        fake = Turns(**options)
        monkeypatch.setattr("pixelwise.evaluation.benchmark.take_turn", fake)
        return fake

    return use


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engines": ["openvin"]}, "unknown engine 'openvin': did you mean 'openvino'"),
        ({"precisions": ["fp23"]}, "unknown precision 'fp23': did you mean 'fp32'"),
        ({"precisions": ["auto"]}, "unknown precision 'auto'"),
        ({"engines": []}, "no engine was given"),
        ({"images": 0}, "at least one image and one round are needed, found 0 and 3"),
        ({"repeat": 0}, "at least one image and one round"),
        ({"split": "val"}, "plain images have no split 'val'"),
    ],
)
def test_options_that_cannot_be_right(run, photos, options, message):
    with pytest.raises(UsageError, match=message):
        pw.benchmark(run, photos, **options)


def test_models_that_cannot_be_measured(run, photos, changed, tmp_path):
    with pytest.raises(UsageError, match="no model was given"):
        pw.benchmark([], photos)
    with pytest.raises(UsageError, match="model 'nope' is neither"):
        pw.benchmark([run, "nope"], photos)
    with pytest.raises(UsageError, match="labels volumes; benchmark measures models of images"):
        pw.benchmark(changed(task="volume"), photos)
    with pytest.raises(UsageError, match="is multilabel"):
        pw.benchmark(changed(head="multilabel"), photos)
    with pytest.raises(DataError, match=r"bundle\.json, graph\.onnx, model\.safetensors is missing"):
        pw.benchmark(photos, photos)


def test_images_that_cannot_be_used(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="the folder is empty"):
        pw.benchmark(run, tmp_path / "empty")
    with pytest.raises(DataError, match="no image matches it as a pattern"):
        pw.benchmark(run, str(tmp_path / "*.jpg"))
    with pytest.raises(DataError, match="images: holds no images"):
        pw.benchmark(run, [])
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of 1 images can be used \(.*broken.png: not an image"):
        pw.benchmark(run, [tmp_path / "broken.png"])
    volumes = Dataset([0], lambda _: Volume(np.zeros((4, 4, 4)), np.eye(4), (1.0, 1.0, 1.0)), LABELS)
    with pytest.raises(UsageError, match="data holds volumes; benchmark measures models of images"):
        pw.benchmark(run, volumes)
    bands = Dataset([0], lambda _: Sample(np.zeros((4, 4, 5), np.uint16)), LABELS)
    with pytest.raises(DataError, match="expected an image of HxWx3 uint8, found uint16"):
        pw.benchmark(run, bands)


def test_labels_without_a_match_stop_it(run, turns):
    turns()
    image, mask = draw_shapes(0)
    others = pw.LabelMap(("sea", "sky", "land"))
    with pytest.raises(DataError, match="no class matches the model's by name"):
        pw.benchmark(run, Dataset([0], lambda _: Sample(image, mask), others), **QUICK)
    ignored = Dataset([0], lambda _: Sample(image, np.full_like(mask, 255)), LABELS)
    with pytest.raises(DataError, match="no pixel of 1 images has a class of"):
        pw.benchmark(run, ignored, **QUICK)


def test_an_engine_that_is_not_installed(run, photos, turns, monkeypatch):
    turns()
    module, name, _ = ENGINES["torch"]
    monkeypatch.setitem(ENGINES, "torch", (module, name, "no_such_package"))
    with pytest.raises(PixelwiseError, match=r"pixelwise\[train\]"):
        pw.benchmark(run, photos, engines=["torch"])
    found = pw.benchmark(run, photos, precisions=["fp32"], repeat=1)
    assert {row.engine for row in found.measurements} == {"openvino", "onnxruntime"}
    assert [(row.engine, row.reason) for row in found.left_out] == [("torch", "not installed")]


def test_a_combination_that_does_not_exist_is_an_error_alone_and_a_line_beside_others(run, photos):
    alone = Turn(str(run / "bundle"), "onnxruntime", "bf16", "cpu", (str(photos / "0.png"),), (), 1, "")
    with pytest.raises(UsageError, match="computes in fp32"):
        take_turn(alone)
    with pytest.raises(UsageError, match="^nothing could be measured: the onnxruntime engine"):
        pw.benchmark(run, photos, engines=["onnxruntime"], precisions=["bf16"], repeat=1)


def test_a_crash_is_a_line_with_its_reason(run, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # the processes find this engine first
    (tmp_path / "onnxruntime.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    found = pw.benchmark(run, photos, engines=["onnxruntime", "openvino"], precisions=["fp32"], repeat=1)
    assert [row.engine for row in found.measurements] == ["openvino"]
    (left,) = found.left_out
    assert (left.engine, left.precision) == ("onnxruntime", "fp32")
    assert left.reason == "crashed (SIGKILL, perhaps for want of memory)"
    (tmp_path / "onnxruntime.py").write_text("raise RuntimeError('no such instruction')\n")
    with pytest.raises(PixelwiseError, match=r"failed \(RuntimeError: no such instruction\)") as error:
        pw.benchmark(run, photos, **QUICK)
    assert error.value.exit_code == 1


def test_mean_iou_is_that_of_evaluate(run, shapes):
    progress = []
    engines = ["openvino", "onnxruntime"]
    found = pw.benchmark(
        run,
        shapes,
        engines=engines,
        precisions=["fp32"],
        repeat=1,
        images=3,
        split="val",
        progress=progress.append,
    )
    chosen = pw.read(shapes, split="val").subset([0, 2, 3])
    assert found.title == f"{shapes.name} (val)" and found.images == 3 and found.calls == 20
    assert progress[-1] == {"kind": "benchmark", "done": 4, "total": 4}
    assert [row.images_per_second for row in found.measurements] == sorted(
        (row.images_per_second for row in found.measurements), reverse=True
    )
    for row in found.measurements:
        expected = pw.evaluate(pw.load(run, row.engine, "fp32"), chosen)
        assert row.mean_iou == expected.confusion.mean_iou()
        assert row.mean_iou_interval == expected.interval()
        assert row.agreement == pytest.approx(1, abs=1e-3)
        assert 0 < row.latency_p50_ms <= row.latency_p95_ms < 1000 * row.start_seconds
        assert 0.1 < row.start_seconds < 60 and row.images_per_second > 1
        assert 50e6 < row.peak_bytes < 1e9
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["quality"] == "mean_iou" and document["machine"]["cores"] >= 1
    assert document["versions"]["pixelwise"] == pw.__version__


def test_turns_alternate_and_medians_are_reported(run, photos, turns):
    speeds = {"openvino": [10.0, 40.0, 20.0], "onnxruntime": [5.0, 5.0, 1.0]}
    fake = turns(speeds=speeds)
    engines = ["onnxruntime", "openvino"]
    found = pw.benchmark(run, photos, engines=engines, precisions=["fp32"], repeat=3)
    assert [turn.engine for turn in fake.taken] == engines * 4
    assert [turn.calls for turn in fake.taken] == [0] * 2 + [20] * 6
    assert [Path(file).name for file in fake.taken[0].warm_up] == ["0.png", "2.png"]  # one of each size
    fast, slow = found.measurements
    assert (fast.engine, slow.engine) == ("openvino", "onnxruntime")
    assert (fast.images_per_second, slow.images_per_second) == (20, 5)
    assert fast.latency_p50_ms == pytest.approx(25) and fast.latency_p95_ms == pytest.approx(47.5)
    assert fast.start_seconds == pytest.approx(0.5) and fast.peak_bytes == 40_000
    assert [one["images_per_second"] for one in fast.rounds] == [10, 40, 20]


def test_plain_images_give_agreement_with_fp32(run, photos, turns):
    turns(differing={"bf16": 165})
    found = pw.benchmark(run, photos, engines=["openvino"], precisions=["bf16", "fp32"], repeat=1)
    agreements = {row.precision: row.agreement for row in found.measurements}
    assert agreements == {"fp32": 1, "bf16": 1 - 3 * 165 / (2 * 64 * 80 + 50 * 33)}
    assert all(row.mean_iou is None for row in found.measurements) and not found.labelled
    assert "measured without labels, because" in found.remarks[0] and "no mask" in found.remarks[0]
    assert found.to_dict()["quality"] == "agreement"


def test_agreement_needs_fp32_even_if_nobody_asked_for_it(run, photos, turns):
    fake = turns(differing={"bf16": 64 * 80})
    found = pw.benchmark(run, [photos / "0.png"], engines=["openvino"], precisions=["bf16"], repeat=1)
    assert [row.precision for row in found.measurements] == ["bf16"]
    assert found.measurements[0].agreement == 0
    assert (fake.taken[-1].precision, fake.taken[-1].calls) == ("fp32", 0)


def test_a_pattern_a_broken_image_and_a_picture_given_twice(run, photos, turns):
    turns()
    (photos / "3.png").write_bytes(b"no image")
    found = pw.benchmark(run, str(photos / "*.png"), **QUICK)
    assert found.images == 3
    assert "left out: 1 of 4 images" in found.remarks[0] and "3.png" in found.remarks[0]
    assert pw.benchmark(run, [photos / "0.png", photos / "0.png"], **QUICK).images == 1


def test_pictures_that_are_not_their_file_are_written_out(run, photos, turns, monkeypatch):
    answer, seen = turns(), []

    def look(turn):  # the copies are gone afterwards
        seen[:] = [read_image(file) for file in turn.images]
        return answer(turn)

    def half(left):
        return Sample(lambda: read_image(photos / "0.png")[:, left : left + 40], path=photos / "0.png")

    monkeypatch.setattr("pixelwise.evaluation.benchmark.take_turn", look)
    pw.benchmark(run, Dataset([0, 40], half, LABELS), **QUICK)
    np.testing.assert_array_equal(np.concatenate(seen, axis=1), read_image(photos / "0.png"))


def test_models_of_one_name_are_told_apart(run, photos, turns):
    turns()
    bundle = str(run / "bundle")
    found = pw.benchmark([run, bundle], photos, **QUICK)
    assert found.models == [str(run), bundle]


def test_a_busy_machine_is_told(run, photos, turns, monkeypatch):
    turns()
    monkeypatch.setattr("pixelwise.evaluation.benchmark.load_average", lambda: 99.0)
    found = pw.benchmark(run, photos, **QUICK)
    assert found.load_at_start == 99 and "busy before the start (load 99.0" in found.remarks[-1]
    monkeypatch.setattr("pixelwise.evaluation.benchmark.load_average", lambda: 0.0)
    assert not any("the machine was busy" in remark for remark in pw.benchmark(run, photos, **QUICK).remarks)


def row(model, speed, iou, agreement=1.0):
    return Measurement(model, "openvino", "fp32", "cpu", speed, 1, 1, 1, 1, iou, None, agreement)


def test_nothing_beats_what_is_marked():
    rows = [row("a", 9, 0.60), row("a", 5, 0.70), row("b", 5, 0.65), row("b", 4, 0.70), row("b", 1, 0.71)]
    assert [one.pareto for one in mark_pareto(rows, True)] == [True, True, False, False, True]
    nearly = [row("a", 9, 0.70001), row("a", 5, 0.70002)]
    assert [one.pareto for one in mark_pareto(nearly, True)] == [True, False]
    equal = [row("a", 9, 0.7), row("b", 9, 0.7)]
    assert [one.pareto for one in mark_pareto(equal, True)] == [True, True]


def test_agreement_is_compared_within_a_model_only():
    rows = [row("a", 9, None, 1.0), row("a", 5, None, 0.9), row("b", 1, None, 0.8)]
    assert [one.pareto for one in mark_pareto(rows, False)] == [True, False, True]
    unknown = replace(rows[0], agreement=None)
    assert [one.pareto for one in mark_pareto([unknown], False)] == [False]
