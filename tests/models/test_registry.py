"""Creating networks by name and listing them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from pixelwise import models
from pixelwise.errors import DataError, UsageError
from pixelwise.models.network import Features, SegmentationNetwork, Stage, TrainingOutput, out_of_place
from pixelwise.models.table import measure


def test_listing_needs_no_torch() -> None:
    code = (
        "import sys, pixelwise.models as m; rows = m.list(); "
        "assert 'torch' not in sys.modules and 'timm' not in sys.modules; print(len(rows))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(result.stdout) == len(models.ARCHITECTURES)


def test_without_torch_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import pixelwise as pw\n"
        "for make in (lambda: pw.models.create('unet', 2), lambda: pw.losses.create('cross_entropy')):\n"
        "    try:\n        make()\n"
        "    except pw.MissingExtraError as error:\n        print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.count("pip install 'pixelwise[train]'") == 2


def test_every_row_is_complete() -> None:
    keys = {"name", "task", "paper", "year", "variants", "parameters", "gflops", "counts"}
    for row in models.list():
        assert set(row) == keys
        assert "default" in row["variants"]
        assert row["parameters"] > 0 and row["gflops"] > 0


@pytest.mark.parametrize(
    ("name", "variant"),
    [(name, variant) for name, entry in models.ARCHITECTURES.items() for variant in entry.variants],
)
def test_the_table_has_the_measured_numbers(name: str, variant: str) -> None:
    row = next(row for row in models.list() if row["name"] == name)
    measured = measure(name, variant)
    assert row["counts"][variant]["parameters"] == measured["parameters"]
    assert row["counts"][variant]["gflops"] == pytest.approx(measured["gflops"], rel=0.01)
    if variant == "default":
        assert row["parameters"] == measured["parameters"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "fcn8"}, "unknown architecture 'fcn8': did you mean 'fcn8s'"),
        ({"name": "unet", "variant": "papr"}, "did you mean 'paper'"),
        ({"name": "unet", "encoder": "resnet9"}, "unknown encoder 'resnet9': did you mean"),
        ({"name": "deeplabv3plus", "output_strid": 8}, "did you mean 'output_stride'"),
        ({"name": "deeplabv3plus", "output_stride": 4}, "must be 8 or 16, not 4"),
        ({"name": "unet", "variant": "paper", "encoder": "resnet18"}, "takes no encoder"),
        ({"name": "unet", "variant": "paper", "weights": "imagenet"}, "takes no weights"),
        ({"name": "unet", "variant": "paper", "width": 0}, "width must be a positive factor"),
        (
            {"name": "unet", "encoder": "resnet18", "weights": "imagenet"},
            "no ImageNet weights for 'resnet18'",
        ),
        ({"name": "fcn8s", "variant": "paper", "weights": "imagenet", "width": 0.1}, "no ImageNet weights"),
        ({"name": "fcn32s", "variant": "paper", "at_once": True}, "unknown option"),
        ({"name": "unet", "num_classes": 0}, "at least one class"),
        ({"name": "deeplabv3plus", "variant": "paper", "multi_grid": [1, 2]}, "three factors"),
        ({"name": "deeplabv3", "variant": "paper", "multi_grid": [1, 2]}, "three factors"),
        (
            {"name": "deeplabv3", "encoder": "vit_tiny_patch16_224"},
            "cannot give all features at output stride",
        ),
        ({"name": "unet", "encoder": "vit_tiny_patch16_224"}, "takes images of 224x224 only"),
        ({"name": "deeplabv3", "variant": "torchvision", "encoder": "resnet34"}, "did you mean 'resnet"),
        ({"name": "fcn", "variant": "torchvision", "encoder": "mobilenet_v3_large"}, "unknown encoder"),
        ({"name": "deeplabv1", "variant": "paper", "field_of_view": "small"}, "unknown field_of_view"),
        ({"name": "deeplabv2", "variant": "paper", "scales": [0.5]}, "scales start with 1"),
        ({"name": "deeplabv2", "variant": "paper", "encoder": "resnet50"}, "did you mean 'resnet101'"),
        ({"name": "gcn", "kernel_size": 14}, "kernel_size must be odd, not 14"),
        ({"name": "ksac", "fusion": "add"}, "unknown fusion 'add'"),
    ],
)
def test_mistakes_are_explained(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        models.create(**{"num_classes": 2, **arguments})


def test_a_missing_weights_file_is_named() -> None:
    with pytest.raises(DataError, match="nowhere.pth: no such weights file"):
        models.create("unet", 2, weights="nowhere.pth")


def test_auxiliary_heads_answer_only_in_training() -> None:
    class Network(SegmentationNetwork):
        def stages(self) -> tuple[Stage, ...]:
            return (Stage("double", lambda features: {**features, "logits": features["image"] * 2}),)

        def auxiliary(self, features: Features) -> tuple[torch.Tensor, ...]:
            return (features["image"] * 3,)

    network, image = Network(3), torch.ones(1, 3, 32, 32)
    output = network(image)
    assert isinstance(output, TrainingOutput)
    assert torch.equal(output.logits, image * 2)
    assert torch.equal(output.auxiliary[0], image * 3)
    assert torch.equal(network.eval()(image), image * 2)


def test_activations_work_in_place_again_after_an_export() -> None:
    network = models.create("fcn32s", 2)
    in_place = [module for module in network.modules() if getattr(module, "inplace", False)]
    assert in_place
    with out_of_place(network):
        assert not any(module.inplace for module in in_place)
    assert all(module.inplace for module in in_place)
