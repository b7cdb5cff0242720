"""Every registered network and variant through the shared tests."""

from __future__ import annotations

from pixelwise.models import ARCHITECTURES
from tests.models.base import NetworkTests

TINY = {"encoder": "test_efficientnet"}
"""A timm encoder of 0.1 million parameters; DeepLab v3+ keeps the default encoder."""

THIN = {"width": 0.125}
"""An eighth of the paper's channels; sizes and counts at full width are tested on their own."""


class TestFCN32s(NetworkTests):
    name = "fcn32s"
    options = TINY


class TestFCN16s(NetworkTests):
    name = "fcn16s"
    options = TINY


class TestFCN8s(NetworkTests):
    name = "fcn8s"
    options = TINY


class TestPaperFCN32s(NetworkTests):
    name = "fcn32s"
    variant = "paper"
    options = THIN
    starts_at_zero = ("scores.",)


class TestPaperFCN16s(NetworkTests):
    name = "fcn16s"
    variant = "paper"
    options = {**THIN, "at_once": True}
    starts_at_zero = ("scores.",)


class TestPaperFCN8s(NetworkTests):
    name = "fcn8s"
    variant = "paper"
    options = {**THIN, "learn_upsampling": True}
    starts_at_zero = ("scores.",)


class TestUNet(NetworkTests):
    name = "unet"
    options = TINY


class TestPaperUNet(NetworkTests):
    name = "unet"
    variant = "paper"
    options = THIN


class TestDeepLabV3Plus(NetworkTests):
    name = "deeplabv3plus"


class TestPaperDeepLabV3Plus(NetworkTests):
    name = "deeplabv3plus"
    variant = "paper"


class TestDilatedFCN(NetworkTests):
    name = "fcn"


class TestTorchvisionFCN(NetworkTests):
    name = "fcn"
    variant = "torchvision"


class TestDeepLabV1(NetworkTests):
    name = "deeplabv1"


class TestPaperDeepLabV1(NetworkTests):
    name = "deeplabv1"
    variant = "paper"
    options = THIN


class TestDeepLabV2(NetworkTests):
    name = "deeplabv2"


class TestPaperDeepLabV2(NetworkTests):
    name = "deeplabv2"
    variant = "paper"
    options = {**THIN, "encoder": "vgg16"}


class TestDeepLabV3(NetworkTests):
    name = "deeplabv3"


class TestPaperDeepLabV3(NetworkTests):
    name = "deeplabv3"
    variant = "paper"
    options = {"encoder": "resnet50"}


class TestTorchvisionDeepLabV3(NetworkTests):
    name = "deeplabv3"
    variant = "torchvision"
    options = {"encoder": "mobilenet_v3_large"}


class TestGCN(NetworkTests):
    name = "gcn"
    options = TINY


class TestPaperGCN(NetworkTests):
    name = "gcn"
    variant = "paper"
    options = {"encoder": "resnet50"}


class TestKSAC(NetworkTests):
    name = "ksac"


class TestPaperKSAC(NetworkTests):
    name = "ksac"
    variant = "paper"


class TestUNet3D(NetworkTests):
    name = "unet3d"
    axes = 3
    options = THIN


class TestPaperUNet3D(NetworkTests):
    name = "unet3d"
    variant = "paper"
    axes = 3
    options = {"width": 0.0625}


def test_every_network_and_variant_is_tested() -> None:
    tested = {(cls.name, cls.variant) for cls in NetworkTests.__subclasses__()}
    known = {(name, variant) for name, entry in ARCHITECTURES.items() for variant in entry.variants}
    assert known - tested == set()
