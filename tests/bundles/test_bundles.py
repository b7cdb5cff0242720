import json
import pickle
import shutil

import numpy as np
import pytest

import pixelwise as pw
from pixelwise.bundles import find_model, open_bundle, zip_bundle
from pixelwise.inference.engines import ENGINES, create_engine


@pytest.fixture
def bundle(run, tmp_path):
    """A copy of the trained bundle that a test may damage."""
    return shutil.copytree(run / "bundle", tmp_path / "bundle")


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("size", [(64, 80), (33, 47), (97, 131), (180, 240)])
def test_all_engines_agree(run, size):
    bundle = open_bundle(run / "bundle")
    image = noise(2, *size, 3)
    logits = {name: create_engine(bundle, name, "fp32").run(image, "logits") for name in ENGINES}
    labels = {name: create_engine(bundle, name, "fp32").run(image, "labels") for name in ENGINES}
    ordered = np.sort(logits["torch"], axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 1e-3
    for name in ENGINES:
        assert logits[name].shape == (2, 3, *size)
        np.testing.assert_allclose(
            logits[name], logits["torch"], atol=1e-4 * np.abs(logits["torch"]).max() + 1e-5
        )
        assert labels[name].dtype == np.uint8
        np.testing.assert_array_equal(labels[name][clear], labels["torch"][clear])


def test_the_graph_holds_no_weights_and_the_weights_are_float16(run):
    bundle = open_bundle(run / "bundle")
    assert bundle.graph.stat().st_size < 0.2 * bundle.weights.stat().st_size
    assert bundle.weights.stat().st_size < 2.1 * bundle.manifest.parameters + 100_000
    assert {str(array.dtype) for array in bundle.state().values()} <= {"float16", "float32"}


def test_the_card_says_what_was_trained_and_measured(run):
    manifest = open_bundle(run / "bundle").manifest
    assert manifest.label_map.names == ("background", "square", "disc")
    assert manifest.trained_on["images"] == 10
    assert manifest.metrics["images"] == 4
    assert manifest.metrics["engine"] == "openvino"
    assert manifest.parity["onnxruntime"] < 1e-3
    assert str(run) not in (run / "bundle" / "bundle.json").read_text()


def test_a_zip_is_a_bundle_too(run, tmp_path):
    image = noise(70, 90, 3)
    target = zip_bundle(open_bundle(run / "bundle"), tmp_path / "shapes.zip")
    np.testing.assert_array_equal(pw.load(target).predict(image).mask, pw.load(run).predict(image).mask)


def test_a_changed_file_is_refused(bundle):
    content = bytearray((bundle / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (bundle / "model.safetensors").write_bytes(content)
    with pytest.raises(pw.DataError, match=r"model\.safetensors: sha256 is .* copy the bundle again"):
        pw.load(bundle)


def test_a_pickle_is_refused_and_never_loaded(bundle, tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    (bundle / "model.safetensors").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(pw.DataError, match="this is a pickle"):
        pw.load(bundle)
    assert not (tmp_path / "executed").exists()


def test_missing_files_are_named(bundle):
    (bundle / "graph.onnx").unlink()
    with pytest.raises(pw.DataError, match=r"graph\.onnx is missing"):
        pw.load(bundle)


def test_a_damaged_manifest_is_one_sentence(bundle):
    (bundle / "bundle.json").write_text('{"format": 1')
    with pytest.raises(pw.DataError, match="not a valid bundle description"):
        pw.load(bundle)


def test_a_newer_format_asks_for_an_upgrade(bundle):
    manifest = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(pw.DataError, match="format 99 is newer"):
        pw.load(bundle)


def test_unknown_models_are_named(tmp_path):
    with pytest.raises(pw.UsageError, match="'nothing' is neither a bundled name nor a bundle or run folder"):
        find_model("nothing")
    with pytest.raises(pw.DataError, match="not a complete bundle"):
        find_model(tmp_path)


def test_an_unfinished_run_says_how_to_finish(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(
        pw.DataError, match="has not written its bundle yet; finish it: pixelwise train --resume"
    ):
        pw.load(tmp_path)
