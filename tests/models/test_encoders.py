"""Encoders: exact dilation, SAME padding, weights, other numbers of channels."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from pixelwise import models
from pixelwise.errors import DataError, UsageError
from pixelwise.models.encoders import create_encoder
from pixelwise.models.encoders.vgg import FullyConvolutionalVGG16
from pixelwise.models.encoders.weights import adapt_first_layer


def _relative_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize(
    ("name", "size", "first"),
    [
        ("resnet18", (96, 128), 0),
        ("resnet50", (96, 128), 0),
        ("mobilenetv2_100", (96, 128), 0),
        ("tf_efficientnet_lite0", (97, 129), 0),
        # SAME padding of even sizes puts strided outputs on the LAST pixel of each window.
        ("tf_efficientnet_lite0", (96, 128), 3),
        ("xception41", (97, 129), 0),
        # These shrink by pooling; timm itself cannot dilate them.
        ("vgg16", (96, 128), 0),
        ("vgg11_bn", (96, 128), 0),
        ("legacy_xception", (97, 129), 0),
    ],
)
@torch.no_grad()
def test_dilated_features_are_the_strided_ones_computed_densely(
    name: str, size: tuple[int, int], first: int
) -> None:
    coarse, dense = create_encoder(name).eval(), create_encoder(name, output_stride=8).eval()
    dense.load_state_dict(coarse.state_dict())
    image = torch.randn(1, 3, *size)
    expected, found = coarse(image)[-1], dense(image)[-1]
    assert dense.reductions[-1] == 8
    assert _relative_difference(found[..., first::4, first::4], expected) < 1e-5


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_mixnet_s", "resnet18", "test_convnext"])
@torch.no_grad()
def test_features_are_exactly_those_of_timm(name: str) -> None:
    encoder = create_encoder(name).eval()
    reference = timm.create_model(name, features_only=True, pretrained=False).eval()
    reference.load_state_dict(encoder.net.state_dict())
    for size in [(64, 64), (65, 33), (47, 50), (46, 49)]:
        image = torch.randn(2, 3, *size)
        features = encoder(image)
        assert all(torch.equal(a, b) for a, b in zip(features, reference(image), strict=True))
        assert [feature.shape[1] for feature in features] == list(encoder.channels)


def test_depth_keeps_the_shallow_levels() -> None:
    encoder = create_encoder("tf_efficientnet_lite0", depth=3)
    assert encoder.reductions == (2, 4, 8)
    assert len(encoder(torch.zeros(2, 3, 64, 64))) == 3


@pytest.mark.parametrize("output_stride", [8, 16])
def test_a_dilated_vgg_has_its_sizes(output_stride: int) -> None:
    encoder = create_encoder("vgg16", output_stride=output_stride).eval()
    assert encoder.reductions == tuple(min(stride, output_stride) for stride in (1, 2, 4, 8, 16, 32))
    features = encoder(torch.zeros(1, 3, 64, 96))
    assert [f.shape[-1] for f in features] == [96 // stride for stride in encoder.reductions]


def test_an_encoder_that_cannot_be_dilated_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="'pvt_v2_b0' cannot give all features at output stride 8"):
        create_encoder("pvt_v2_b0", output_stride=8)


@pytest.mark.parametrize("name", ["pvt_v2_b0", "swin_tiny_patch4_window7_224", "mobilevit_xxs"])
@torch.no_grad()
def test_transformers_with_feature_maps_take_any_size(name: str) -> None:
    encoder = create_encoder(name).eval()
    features = encoder(torch.randn(1, 3, 70, 99))
    assert [f.shape[1] for f in features] == list(encoder.channels)
    sides = [(-(-70 // stride), -(-99 // stride)) for stride in encoder.reductions]
    assert [tuple(f.shape[-2:]) for f in features] == sides


@pytest.mark.parametrize("name", ["vgg16", "swin_tiny_patch4_window7_224", "convnext_atto"])
def test_every_network_without_dilation_takes_them(name: str) -> None:
    with torch.device("meta"):
        for arch in ("unet", "fcn8s", "gcn"):
            network = models.create(arch, 4, encoder=name).eval()
            assert network(torch.empty(1, 3, 70, 99)).shape == (1, 4, 70, 99)


def test_a_network_says_which_stride_an_encoder_lacks() -> None:
    with pytest.raises(UsageError, match="features at stride 16 but the encoder has strides 2, 4, 8"):
        create_encoder("tf_efficientnet_lite0", depth=3).level(16)


def test_packaged_weights_are_imagenets() -> None:
    """Trained batch norms have seen data, and the statistics of the stem are known to be no default."""
    encoder = create_encoder("tf_efficientnet_lite0", weights="imagenet")
    assert all(
        module.running_var.ne(1).all() for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)
    )
    assert encoder.mean == encoder.std == (127.5, 127.5, 127.5)


@torch.no_grad()
def test_a_grey_image_answers_like_its_rgb_copy() -> None:
    colour = create_encoder("tf_efficientnet_lite0", weights="imagenet").eval()
    grey = create_encoder("tf_efficientnet_lite0", in_channels=1, weights="imagenet").eval()
    image = torch.randn(1, 1, 64, 64)
    for found, expected in zip(grey(image), colour(image.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_more_channels_get_a_scaled_cyclic_copy() -> None:
    weight = torch.randn(8, 3, 3, 3)
    adapted = adapt_first_layer(weight, 5)
    torch.testing.assert_close(adapted, weight[:, [0, 1, 2, 0, 1]] * 3 / 5)
    encoder = create_encoder("tf_efficientnet_lite0", in_channels=5, weights="imagenet")
    assert len(encoder.mean) == 5


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    full = timm.create_model("resnet18", pretrained=False)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": full.state_dict()}, path)
    else:
        save_file(full.state_dict(), path)
    encoder = create_encoder("resnet18", weights=str(path))
    assert torch.equal(encoder.net.state_dict()["layer4.1.conv2.weight"], full.layer4[1].conv2.weight)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet18", pretrained=False).state_dict(), tmp_path / "r18.safetensors")
    with pytest.raises(DataError, match="r18.safetensors: .*not the weights of this encoder"):
        create_encoder("resnet26", weights=str(tmp_path / "r18.safetensors"))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_and_unsafe_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(b"no tensors here")
    with pytest.raises(DataError, match="cannot be read as a state dict"):
        create_encoder("resnet18", weights=str(path))
    torch.save({"model": nn.Conv2d(1, 1, 1)}, tmp_path / "objects.pth")
    with pytest.raises(DataError, match="cannot be read as a state dict"):
        create_encoder("resnet18", weights=str(tmp_path / "objects.pth"))


@pytest.mark.parametrize("last", [("classifier.0", "classifier.3"), ("pre_logits.fc1", "pre_logits.fc2")])
def test_vgg_loads_torchvisions_and_timms_names(tmp_path: Path, last: tuple[str, str]) -> None:
    path = tmp_path / "vgg.safetensors"
    encoder = FullyConvolutionalVGG16(width=0.125)
    with torch.device("meta"):
        reference = timm.create_model("vgg16", pretrained=False)
    names = [name for name, layer in reference.features.named_children() if isinstance(layer, nn.Conv2d)]
    layers = [module for module in encoder.modules() if isinstance(module, nn.Conv2d)]
    state = {}
    for name, layer in zip([*(f"features.{name}" for name in names), *last], layers, strict=True):
        matrix = name.startswith("classifier")
        state[f"{name}.weight"] = layer.weight.flatten(1).clone() if matrix else layer.weight.clone()
        state[f"{name}.bias"] = torch.randn_like(layer.bias)
    save_file(state, path)
    other = FullyConvolutionalVGG16(width=0.125, weights=str(path))
    found = [module for module in other.modules() if isinstance(module, nn.Conv2d)]
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(found, layers, strict=True))
    assert torch.equal(other.fc7.bias, state[f"{last[1]}.bias"])
    grey = FullyConvolutionalVGG16(in_channels=1, width=0.125, weights=str(path))
    torch.testing.assert_close(grey.blocks[0][0].weight, layers[0].weight.sum(1, keepdim=True))
    with pytest.raises(DataError, match="'features.0.weight' has shape"):
        FullyConvolutionalVGG16(width=0.25, weights=str(path))
    save_file({"features.0.weight": state["features.0.weight"]}, path)
    with pytest.raises(DataError, match="has no tensor 'features.0.bias'"):
        FullyConvolutionalVGG16(width=0.125, weights=str(path))
