"""Static int8: what is refused, what is accepted, and that both CPU engines run what comes out."""

import json
import shutil

import numpy as np
import onnx
import pytest

import pixelwise as pw
from pixelwise.bundles import find_model, open_bundle, with_int8, zip_bundle
from pixelwise.inference.engines import create_engine
from pixelwise.training.quantise import MAX_IMAGES, choose_images, network_inputs, quantise
from pixelwise.training.standalone import write_standalone
from tests.training.tiny import picture, pictures, tiny_bundle


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("plain") / "bundle")


@pytest.fixture(scope="module")
def quantised(plain, tmp_path_factory):
    images = [picture(seed)[0] for seed in range(10, 14)]
    return quantise(plain, tmp_path_factory.mktemp("int8") / "bundle", images, pictures())


@pytest.fixture
def copy(quantised, tmp_path):
    """One that a test may damage."""
    return shutil.copytree(quantised.bundle.path, tmp_path / "copy")


def test_nothing_is_written_when_too_much_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pixelwise.training.quantise._score", lambda b, name, *_: 0.4 + 0.2 * (name != "int8")
    )
    bundle = tiny_bundle(tmp_path / "bundle")
    with pytest.raises(pw.PixelwiseError, match=r"best \(all layers\) loses 20\.00 .*60\.00 to 40\.00"):
        quantise(bundle, tmp_path / "out", [picture(0)[0]], pictures(2))
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_the_first_remedy_that_is_accepted_is_kept(tmp_path, plain, monkeypatch):
    scores = {"fp32": [0.6], "bf16": [0.6], "int8": [0.1, 0.599, 0.599, 0.6]}
    monkeypatch.setattr("pixelwise.training.quantise._score", lambda b, name, *_: scores[name].pop(0))
    card = quantise(plain, tmp_path / "out", [picture(0)[0]], pictures(2)).bundle.manifest.int8
    assert card.method == "averaged ranges"
    assert card.drop == pytest.approx(0.1)
    assert scores["int8"] == [0.6]


def test_layers_that_stay_in_float_are_float_and_listed(tmp_path, plain, monkeypatch):
    scores = {"fp32": [0.6], "bf16": [0.6], "int8": [0.1, 0.6, 0.1, 0.6, 0.6]}
    monkeypatch.setattr("pixelwise.training.quantise._score", lambda b, name, *_: scores[name].pop(0))
    bundle = quantise(plain, tmp_path / "out", [picture(0)[0]], pictures(2)).bundle
    assert len(bundle.manifest.int8.float_layers) == 2
    assert "DequantizeLinear" not in {node.op_type for node in onnx.load(bundle.int8_graph).graph.node}


@pytest.mark.parametrize("drop", [-1.0, float("nan")])
def test_a_senseless_drop_is_refused(plain, tmp_path, drop):
    with pytest.raises(pw.UsageError, match="must be 0 or more points"):
        quantise(plain, tmp_path / "out", [picture(0)[0]], pictures(), max_drop=drop)


def test_without_a_readable_image_there_is_nothing_to_calibrate_on(plain, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    with pytest.raises(pw.DataError, match=r"no image to calibrate on: .*bad\.png"):
        quantise(plain, tmp_path / "out", [tmp_path / "bad.png"], pictures())
    with pytest.raises(pw.DataError, match="no image to calibrate on; give a folder"):
        network_inputs(plain, [])
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_read_are_counted(plain, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    arrays, notes = network_inputs(plain, [picture(0)[0], tmp_path / "bad.png"])
    assert len(arrays) == 1
    assert notes[0].startswith("1 images could not be read for calibration")


def test_data_without_the_models_classes_cannot_judge(plain, tmp_path):
    data = pictures()
    data.labels = pw.LabelMap(("a", "b", "c"))
    with pytest.raises(pw.DataError):
        quantise(plain, tmp_path / "out", [picture(0)[0]], data)
    assert not (tmp_path / "out").exists()


def test_the_network_sees_what_predict_shows_it(plain):
    large = np.zeros((80, 96, 3), np.uint8)
    arrays, notes = network_inputs(plain, [large, picture(0)[0]])
    assert [array.shape for array in arrays] == [(1, 40, 48, 3)] * 2
    assert notes == []
    assert len(network_inputs(plain, [picture(0)[0]] * (MAX_IMAGES + 50))[0]) == MAX_IMAGES


def test_it_is_as_good_as_float_and_says_so(quantised):
    card = quantised.bundle.manifest.int8
    assert card.method == "all layers"
    assert card.drop <= 0.5
    assert {"fp32", "int8"} <= card.table.keys()
    assert card.table["int8"]["mean_iou"] > 0.95
    assert card.agreement["fp32"] > 0.98
    assert card.agreement["onnxruntime"] > 0.98
    assert card.calibrated_on["images"] == 4
    assert card.scored_on["images"] == 4
    rates = {name: row["images_per_second"] for name, row in card.table.items()}
    assert ("not worth it" in quantised.text()) == (rates["int8"] <= max(rates["fp32"], rates.get("bf16", 0)))
    assert json.dumps(quantised.to_dict())


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("shape", [(1, 40, 48, 3), (2, 33, 57, 3)])
def test_both_engines_run_it_at_any_size_and_batch(quantised, engine, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = create_engine(quantised.bundle, engine, "int8")
    assert found.precision == "int8"
    logits, labels = found.run(images, "logits"), found.run(images, "labels")
    assert logits.shape == (shape[0], 3, *shape[1:3])
    assert logits.dtype == np.float32
    assert labels.dtype == np.uint8
    reference = create_engine(quantised.bundle, engine, "fp32").run(images, "logits")
    assert 0 < np.abs(logits - reference).max() < 0.1 * np.abs(reference).max()


def test_auto_never_takes_int8(quantised):
    assert create_engine(quantised.bundle).precision in ("fp32", "bf16")


def test_the_int8_graph_has_integer_weights_and_needs_no_other_file(quantised):
    model = onnx.load(quantised.bundle.int8_graph, load_external_data=False)
    kinds = {init.data_type for init in model.graph.initializer if np.prod(init.dims) > 9}
    assert kinds == {onnx.TensorProto.INT8}
    assert not any(init.external_data for init in model.graph.initializer)


def test_a_bundle_without_int8_says_how_to_make_it(plain):
    for engine in ("auto", "onnxruntime"):
        with pytest.raises(
            pw.UsageError, match="no int8 graph; make one: pixelwise export --model .* --int8"
        ):
            pw.load(plain.path, engine=engine, precision="int8")


def test_torch_has_no_int8(quantised):
    with pytest.raises(pw.UsageError, match="the torch engine has no int8"):
        create_engine(quantised.bundle, "torch", "int8")


def test_a_damaged_or_missing_int8_graph_is_named(copy):
    graph = copy / "graph.int8.onnx"
    content = bytearray(graph.read_bytes())
    content[-1] ^= 1
    graph.write_bytes(content)
    with pytest.raises(pw.DataError, match=r"graph\.int8\.onnx: sha256 is"):
        open_bundle(copy)
    graph.unlink()
    with pytest.raises(pw.DataError, match=r"lists graph\.int8\.onnx, which is missing"):
        open_bundle(copy)


def test_zipping_and_unpacking_keep_it(quantised, tmp_path):
    image = picture(99)[0]
    packed = zip_bundle(quantised.bundle, tmp_path / "tiny.zip")
    again = pw.load(packed, precision="int8")
    assert again.bundle.manifest.int8 == quantised.bundle.manifest.int8
    expected = pw.load(quantised.bundle.path, precision="int8").predict(image).mask
    np.testing.assert_array_equal(again.predict(image).mask, expected)


def test_the_other_precisions_are_what_they_were(plain, quantised):
    before, after = pw.load(plain.path, precision="fp32"), pw.load(quantised.bundle.path, precision="fp32")
    assert after.identity == before.identity
    image = picture(7)[0]
    np.testing.assert_array_equal(after.logits(image), before.logits(image))


def test_a_copy_replaces_an_older_one_whole(plain, quantised, tmp_path):
    target = tmp_path / "deep" / "bundle"
    card = quantised.bundle.manifest.int8.model_dump(exclude={"sha256"})
    graph = quantised.bundle.int8_graph.read_bytes()
    with_int8(plain, target, graph, card)
    with_int8(plain, target, graph, card | {"method": "another"})
    assert find_model(target).manifest.int8.method == "another"
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_a_file_of_its_own_computes_the_same(quantised, tmp_path, to, precision):
    import onnxruntime
    import openvino

    path = tmp_path / ("model.onnx" if to == "onnx" else "model.xml")
    write_standalone(quantised.bundle, path, to, precision)
    images = np.random.default_rng(0).integers(0, 256, (2, 35, 50, 3), np.uint8)
    if to == "onnx":
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        logits, labels = session.run(["logits", "labels"], {"image": images})
        expected = create_engine(quantised.bundle, "onnxruntime", precision).run(images, "logits")
    else:
        model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = model(images)
        logits, labels = found["logits"], found["labels"]
        expected = create_engine(quantised.bundle, "onnxruntime", precision).run(images, "logits")
    tolerance = 0.05 if precision == "int8" else 1e-3
    np.testing.assert_allclose(logits, expected, atol=tolerance * np.abs(expected).max())
    assert labels.shape == (2, 35, 50)
    card = json.loads((tmp_path / "model.json").read_text())
    assert [row["name"] for row in card["classes"]] == ["dark", "middle", "bright"]
    assert card["precision"] == precision
    assert card["licence"] == "CC0"
    assert card["working"]["height"] == 40
    assert set(card["outputs"]) == {"labels", "logits"}


def test_a_file_of_its_own_is_refused_before_anything_is_written(plain, tmp_path):
    with pytest.raises(pw.UsageError, match="unknown format 'onx': did you mean 'onnx'"):
        write_standalone(plain, tmp_path / "model.onnx", "onx")
    with pytest.raises(pw.UsageError, match=r"expected a file named \*\.xml"):
        write_standalone(plain, tmp_path / "model.onnx", "openvino")
    with pytest.raises(pw.UsageError, match="has no int8 graph"):
        write_standalone(plain, tmp_path / "model.onnx", "onnx", "int8")
    (tmp_path / "model.bin").write_bytes(b"mine")
    with pytest.raises(pw.UsageError, match=r"model\.bin is there already"):
        write_standalone(plain, tmp_path / "model.xml", "openvino")
    assert [path.name for path in tmp_path.iterdir()] == ["model.bin"]


def read(path):
    return pw.read(path)


@pytest.fixture
def folder(shapes, tmp_path):
    """A labelled folder with train and val."""
    return shutil.copytree(shapes, tmp_path / "shapes")


def test_a_split_folder_calibrates_on_train_and_judges_on_val(folder):
    images, scored, notes = choose_images(folder, None, None, read)
    assert {sample.path.parent.name for sample in images} == {"train"}
    assert (len(images), len(scored), scored.split, notes) == (10, 4, "val", [])


def test_photos_without_labels_need_labelled_ones_beside(folder, tmp_path):
    shutil.copytree(folder / "images" / "train", tmp_path / "photos")
    with pytest.raises(pw.UsageError, match=r"photos has no labels .* give labelled images as --data"):
        choose_images(tmp_path / "photos", None, None, read)
    images, scored, notes = choose_images(tmp_path / "photos", pw.read(folder), None, read)
    assert (len(images), len(scored), notes) == (10, 4, [])
    with pytest.raises(pw.DataError, match="no such file or folder"):
        choose_images(tmp_path / "nothing", pw.read(folder), None, read)
    with pytest.raises(pw.UsageError, match="unknown split 'vla': did you mean 'val'"):
        choose_images(folder, None, "vla", read)


def test_copies_of_the_judging_images_do_not_calibrate(folder, tmp_path):
    shutil.copytree(folder / "images" / "train", tmp_path / "photos")
    shutil.copy(folder / "images" / "val" / "val_001.png", tmp_path / "photos" / "renamed.png")
    images, _, notes = choose_images(tmp_path / "photos", pw.read(folder), None, read)
    assert "renamed.png" not in {path.name for path in images}
    assert notes == ["1 images are among those that judge and were not calibrated on"]


def test_the_same_images_for_both_are_parted(folder):
    images, scored, notes = choose_images(folder, pw.read(folder, split="train"), "train", read)
    assert {s.path for s in scored}.isdisjoint({s.path for s in images})
    assert (len(images), len(scored)) == (5, 5)
    assert "every second one judges" in notes[0]
