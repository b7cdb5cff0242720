"""Engines, precisions and devices that are not there; and the cache of compiled graphs."""

import numpy as np
import pytest

import pixelwise as pw
from pixelwise.bundles import Bundle
from pixelwise.bundles.bundle import cache_folder
from pixelwise.inference.engines import create_engine, openvino_engine
from tests.training.tiny import picture, pictures, tiny_bundle

PRECISIONS = ("fp32", "bf16", "int8")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    from pixelwise.training.quantise import quantise

    folder = tmp_path_factory.mktemp("tiny")
    images = [picture(seed)[0] for seed in range(3)]
    return quantise(tiny_bundle(folder / "float"), folder / "bundle", images, pictures(2)).bundle


def nothing_installed_but(monkeypatch, *names):
    monkeypatch.setattr("pixelwise.inference.engines._installed", lambda name: name in names)


def can_compute(monkeypatch, *kinds):
    class Core(openvino_engine.ov.Core):
        def get_property(self, *arguments):
            if arguments[1:] == ("OPTIMIZATION_CAPABILITIES",):
                return list(kinds)
            return super().get_property(*arguments)

    monkeypatch.setattr(openvino_engine.ov, "Core", Core)


def has_bf16() -> bool:
    return "BF16" in openvino_engine.ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_torch_that_is_not_installed_is_an_extra(bundle, monkeypatch):
    nothing_installed_but(monkeypatch, "openvino")
    with pytest.raises(pw.PixelwiseError, match=r"pip install 'pixelwise\[train\]'"):
        create_engine(bundle, "torch")
    with pytest.raises(pw.PixelwiseError, match=r"pip install 'pixelwise\[train\]'"):
        create_engine(bundle, device="cuda")


def test_an_engine_that_belongs_to_pixelwise_names_its_package(bundle, monkeypatch):
    nothing_installed_but(monkeypatch, "onnxruntime", "torch")
    with pytest.raises(pw.PixelwiseError, match="pip install openvino, or use --engine onnxruntime"):
        create_engine(bundle, "openvino")
    assert create_engine(bundle).name == "onnxruntime"
    nothing_installed_but(monkeypatch)
    with pytest.raises(pw.PixelwiseError, match="not installed: pip install onnxruntime$"):
        create_engine(bundle)


def test_a_cpu_without_bfloat16(bundle, monkeypatch):
    can_compute(monkeypatch, "FP32", "INT8")
    with pytest.raises(pw.UsageError, match="this CPU has no bfloat16; use --precision fp32"):
        create_engine(bundle, "openvino", "bf16")
    assert create_engine(bundle, "openvino").precision == "fp32"
    int8 = create_engine(bundle, "openvino", "int8")
    assert int8.options["INFERENCE_PRECISION_HINT"] == "f32"
    with pytest.raises(pw.UsageError, match="the onnxruntime engine computes in fp32"):
        create_engine(bundle, "onnxruntime", "bf16")


def test_a_gpu_without_bfloat16(bundle, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(pw.UsageError, match="this GPU has no bfloat16; use --precision fp32"):
        own = bundle.manifest.model_copy(update={"architecture": "fcn8s"})
        create_engine(Bundle(bundle.path, own), "torch", "bf16", "cuda")


def test_a_device_that_is_not_there(bundle, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    own = bundle.manifest.model_copy(update={"architecture": "fcn8s"})
    with pytest.raises(pw.UsageError, match="there is no cuda device here; use --device cpu"):
        create_engine(Bundle(bundle.path, own), device="cuda")
    for engine in ("openvino", "onnxruntime"):
        with pytest.raises(pw.UsageError, match=f"engine '{engine}' runs on the CPU here"):
            create_engine(bundle, engine, device="cuda")
    with pytest.raises(pw.UsageError, match="unknown device 'gpu'"):
        create_engine(bundle, device="gpu")


def test_int8_goes_to_no_gpu(bundle):
    with pytest.raises(pw.UsageError, match="the torch engine has no int8"):
        create_engine(bundle, precision="int8", device="cuda")


def compiled() -> list:
    return sorted(cache_folder("compiled").glob("*"))


@pytest.mark.parametrize("precision", [name for name in PRECISIONS if name != "bf16" or has_bf16()])
@pytest.mark.parametrize("wanted", ["labels", "logits"])
def test_a_warm_cache_gives_the_same_without_compiling(bundle, monkeypatch, precision, wanted):
    image = picture(3)[0][None]
    first = create_engine(bundle, "openvino", precision).run(image, wanted)
    assert len(compiled()) == 1
    monkeypatch.setattr(openvino_engine.OpenVinoEngine, "_compile", None)
    np.testing.assert_array_equal(create_engine(bundle, "openvino", precision).run(image, wanted), first)


def test_each_precision_output_and_shape_has_its_own_entry(bundle):
    precisions = [name for name in PRECISIONS if name != "bf16" or has_bf16()]
    for precision in precisions:
        engine = create_engine(bundle, "openvino", precision)
        for shape in ((1, 40, 48, 3), (2, 40, 48, 3)):
            for wanted in ("labels", "logits"):
                engine.run(np.zeros(shape, np.uint8), wanted)
    names = [path.name for path in compiled()]
    assert len(names) == len(set(names)) == 4 * len(precisions)


def test_the_same_graph_with_other_weights_is_another_entry(tmp_path, bundle):
    image = picture(3)[0][None]
    one, other = tiny_bundle(tmp_path / "one", seed=1), tiny_bundle(tmp_path / "other", seed=2)
    assert one.graph.read_bytes() == other.graph.read_bytes()
    alone = [create_engine(b, "onnxruntime", "fp32").run(image, "logits") for b in (one, other)]
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    for _ in range(2):  # cold, then warm
        for each, expected in zip((one, other), alone, strict=True):
            found = create_engine(each, "openvino", "fp32").run(image, "logits")
            np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("damage", ["empty", "short", "flipped", "foreign"])
def test_a_damaged_entry_is_compiled_anew_and_replaced(bundle, monkeypatch, damage):
    image = picture(3)[0][None]
    first = create_engine(bundle, "openvino", "fp32").run(image, "logits")
    (entry,) = compiled()
    content = entry.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 255
    half = content[: len(content) // 2]
    entry.write_bytes({"empty": b"", "short": half, "flipped": bytes(flipped), "foreign": b"x" * 99}[damage])
    np.testing.assert_array_equal(create_engine(bundle, "openvino", "fp32").run(image, "logits"), first)
    assert compiled() == [entry]
    monkeypatch.setattr(openvino_engine.OpenVinoEngine, "_compile", None)
    np.testing.assert_array_equal(create_engine(bundle, "openvino", "fp32").run(image, "logits"), first)


def test_without_a_place_for_the_cache_it_still_predicts(bundle, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert create_engine(bundle, "openvino", "fp32").run(picture(3)[0][None], "labels").shape == (1, 40, 48)


def test_the_cache_does_not_grow_without_end(bundle, monkeypatch):
    engine = create_engine(bundle, "openvino", "fp32")
    engine.run(np.zeros((1, 40, 48, 3), np.uint8), "labels")
    (oldest,) = compiled()
    monkeypatch.setattr(openvino_engine, "_LARGEST_CACHE", int(1.5 * oldest.stat().st_size))
    engine.run(np.zeros((1, 40, 50, 3), np.uint8), "labels")
    assert len(compiled()) == 1
    assert compiled() != [oldest]
