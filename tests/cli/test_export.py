"""``pixelwise export`` as a user types it."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import pixelwise as pw
from pixelwise.io import write_image, write_mask, write_text
from tests.training.tiny import LABELS, picture, tiny_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("model") / "bundle").path


@pytest.fixture(scope="module")
def bands(tmp_path_factory):
    """A labelled folder with 3 images to train and 2 to validate."""
    root = tmp_path_factory.mktemp("bands")
    for seed in range(5):
        split = "train" if seed < 3 else "val"
        image, mask = picture(seed)
        write_image(root / "images" / split / f"{seed}.png", image)
        write_mask(root / "masks" / split / f"{seed}.png", mask, LABELS)
    write_text(root / "classes.txt", "\n".join(LABELS.names) + "\n")
    return root


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "give --to onnx or --to openvino for a file, or --int8 for a bundle"),
        (["--to", "onx"], 2, "unknown format 'onx': did you mean 'onnx'?"),
        (["--to", "onnx"], 2, "expected a file named *.onnx"),
        (["--int8"], 2, "--int8 needs images"),
        (["--to", "onnx", "--calibration", "x"], 2, "are for --int8, which is not asked for"),
        (["--int8", "--calibration", "nothing"], 3, "nothing: no such file or folder"),
        (["--int8", "--calibration", "BANDS", "--max-drop", "-1"], 2, "must be 0 or more points"),
        (["--int8", "--calibration", "BANDS", "--split", "vla"], 2, "did you mean 'val'"),
        (["--int8", "--calibration", "BANDS", "--data", "nothing"], 3, "nothing"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(pixelwise, model, bands, tmp_path, arguments, code, sentence):
    arguments = [str(bands) if argument == "BANDS" else argument for argument in arguments]
    found, _, err = pixelwise("export", "--model", model, "--out", tmp_path / "out", "--quiet", *arguments)
    assert (found, err.count("\n")) == (code, 1)
    assert sentence in err
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_replaced(pixelwise, model, bands, tmp_path):
    (tmp_path / "model.json").write_text("mine")
    code, _, err = pixelwise("export", "--model", model, "--to", "onnx", "--out", tmp_path / "model.onnx")
    assert code == 2
    assert "model.json is there already" in err
    code, _, err = pixelwise("export", "--model", model, "--int8", "--calibration", bands, "--out", tmp_path)
    assert code == 2
    assert "is there already" in err
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"]


@pytest.mark.parametrize(("to", "name"), [("onnx", "m.onnx"), ("openvino", "m.xml")])
def test_a_file_for_other_programs(pixelwise, model, tmp_path, to, name):
    code, out, _ = pixelwise("export", "--model", model, "--to", to, "--out", tmp_path / name, "--json")
    document = json.loads(out)
    assert code == 0
    assert sorted(document["files"]) == sorted(str(path) for path in tmp_path.iterdir())
    assert json.loads((tmp_path / "m.json").read_text())["licence"] == "CC0"


def test_a_bundle_with_int8_is_used_by_predict(pixelwise, model, bands, tmp_path):
    out = tmp_path / "int8"
    code, text, err = pixelwise(
        "export", "--model", model, "--int8", "--calibration", bands, "--out", out, "--json"
    )
    assert code == 0, err
    document = json.loads(text)
    assert document["scored_on"] == {"data": document["scored_on"]["data"], "split": "val", "images": 2}
    assert document["calibrated_on"]["images"] == 3
    image = bands / "images" / "val" / "3.png"
    expected = pw.load(out, precision="int8").predict(image).mask
    code, _, err = pixelwise(
        "predict", image, "--model", out, "--precision", "int8", "--out", tmp_path / "p", "--quiet"
    )
    assert code == 0, err
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "p" / "3.png")), expected)
    code, text, _ = pixelwise(
        "export", "--model", out, "--int8", "--to", "onnx", "--out", tmp_path / "f.onnx", "--json"
    )
    assert (code, json.loads(text)["precision"]) == (0, "int8")


def test_the_table_is_readable(pixelwise, model, bands, tmp_path):
    photos = shutil.copytree(bands / "images" / "train", tmp_path / "photos")
    code, text, _ = pixelwise(
        *("export", "--model", model, "--int8", "--calibration", photos, "--data", bands),
        *("--to", "onnx", "--out", tmp_path / "m.onnx", "--quiet"),
    )
    assert code == 0
    assert "precision   mIoU %   images/s" in text
    assert "accepted: mean IoU" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.json", "m.onnx", "photos"]


def test_without_onnx_the_extra_is_named(pixelwise, model, tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == "onnx" else real(name, *a)
    )
    code, _, err = pixelwise("export", "--model", model, "--to", "onnx", "--out", tmp_path / "m.onnx")
    assert code == 1
    assert "pip install 'pixelwise[train]'" in err
