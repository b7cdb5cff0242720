"""``pixelwise benchmark`` as a user types it."""

import json
from functools import partial

import pytest
from PIL import Image

from pixelwise.errors import UsageError
from tests.conftest import draw_shapes
from tests.evaluation.test_benchmark import Turns


@pytest.fixture
def benchmark(pixelwise):
    """Call the verb; gives (exit code, stdout, stderr)."""
    return partial(pixelwise, "benchmark")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--engine", "openvin"), 2, "unknown engine 'openvin': did you mean 'openvino'?"),
        (("--precision", "fp23,bf16"), 2, "unknown precision 'fp23': did you mean 'fp32'?"),
        (("--engine", ","), 2, "no engine was given"),
        (("--images", "0"), 2, "at least one image and one round are needed, found 0 and 3"),
        (("--split", "nope"), 2, "unknown split 'nope'"),
        (("--map", "sqare"), 2, "--map sqare: expected OLD=NEW"),
        (("--model", "nope"), 2, "model 'nope' is neither"),
        (("--data", "nothing/*.png"), 3, "no image matches it as a pattern"),
    ],
)
def test_bad_arguments_are_one_sentence(benchmark, run, shapes, arguments, code, message):
    found, out, err = benchmark("--model", run, "--data", shapes, *arguments)
    assert (found, out) == (code, "")
    assert message in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err


def test_a_report_where_a_file_is(benchmark, run, shapes, tmp_path):
    (tmp_path / "report").write_text("")
    code, _, err = benchmark("--model", run, "--data", shapes, "--out", tmp_path / "report")
    assert code == 2 and "is a file; name a folder for the report" in err


def test_help_has_an_example(benchmark):
    code, out, _ = benchmark("--help")
    assert code == 0 and "Example: pixelwise benchmark" in out and "--json" in out


def test_json_and_report(benchmark, run, shapes, tmp_path):
    options = (
        "--engine",
        "onnxruntime",
        "--precision",
        "fp32,bf16",
        "--images",
        2,
        "--repeat",
        1,
        "--classes",
        "background,square,disc",
    )
    out = tmp_path / "speed"
    code, text, err = benchmark(
        "--model", run, "--data", shapes, *options, "--split", "val", "--out", out, "--json", "--quiet"
    )
    document = json.loads(text)
    assert (code, err) == (0, "")
    assert document == json.loads((out / "benchmark.json").read_text())
    assert [(row["engine"], row["precision"]) for row in document["measurements"]] == [
        ("onnxruntime", "fp32")
    ]
    assert {left["precision"] for left in document["left_out"]} == {"bf16"}
    assert "<svg" in (out / "report.html").read_text(encoding="utf-8")


class WithoutBf16(Turns):
    def __call__(self, turn):
        if turn.precision == "bf16":
            raise UsageError("there is no bf16 here")
        return super().__call__(turn)


def test_the_table_is_for_people(benchmark, run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("pixelwise.evaluation.benchmark.take_turn", WithoutBf16())
    photo = tmp_path / "photo.png"
    Image.fromarray(draw_shapes(1)[0]).save(photo)
    arguments = ("--engine", "onnxruntime", "--precision", "fp32,bf16", "--repeat", 1)
    code, out, _ = benchmark("--model", run, "--data", photo, *arguments)
    assert code == 0
    lines = out.splitlines()
    row = next(line for line in lines if line.split()[:2] == ["onnxruntime", "fp32"])
    assert row.split() == ["onnxruntime", "fp32", "10.0", "50.0", "95.0", "1.00", "0", "100.00", "*"]
    assert "not measured: shapes onnxruntime bf16: there is no bf16 here" in lines
    assert any(line.startswith("photo.png: 1 images, 1 round, ") for line in lines)
