"""Networks by name: ``create`` builds one, ``list`` describes all. Importing this needs no torch."""

from __future__ import annotations

import builtins
import importlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from pixelwise.errors import MissingExtraError, UsageError, unknown_name

if TYPE_CHECKING:
    from pixelwise.models.network import SegmentationNetwork

__all__ = ["ARCHITECTURES", "Architecture", "create", "describe", "list"]


@dataclass(frozen=True)
class Architecture:
    """One published system: what it labels, where it was published, and the classes that build it."""

    task: str
    paper: str
    year: int
    variants: Mapping[str, str]
    """Variant name -> "module:Class" below ``pixelwise.models``."""


def _image(year: int, title: str, module: str, **variants: str) -> Architecture:
    """A network that labels the pixels of an image: its file and the class of every variant."""
    return Architecture("image", title, year, {k: f"image.{module}:{name}" for k, name in variants.items()})


_FCN = "Fully Convolutional Networks for Semantic Segmentation, arXiv 1411.4038"

ARCHITECTURES: dict[str, Architecture] = {
    "fcn32s": _image(2015, _FCN, "fcn", default="FCN32s", paper="PaperFCN32s"),
    "fcn16s": _image(2015, _FCN, "fcn", default="FCN16s", paper="PaperFCN16s"),
    "fcn8s": _image(2015, _FCN, "fcn", default="FCN8s", paper="PaperFCN8s"),
    "fcn": _image(2015, _FCN, "fcn_dilated", default="DilatedFCN", torchvision="TorchvisionFCN"),
    "unet": _image(
        2015,
        "U-Net: Convolutional Networks for Biomedical Image Segmentation, arXiv 1505.04597",
        "unet",
        default="UNet",
        paper="PaperUNet",
    ),
    "deeplabv1": _image(
        2015,
        "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs, arXiv 1412.7062",
        "deeplabv1",
        default="DeepLabV1",
        paper="PaperDeepLabV1",
    ),
    "deeplabv2": _image(
        2016,
        "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully "
        "Connected CRFs, arXiv 1606.00915",
        "deeplabv2",
        default="DeepLabV2",
        paper="PaperDeepLabV2",
    ),
    "deeplabv3": _image(
        2017,
        "Rethinking Atrous Convolution for Semantic Image Segmentation, arXiv 1706.05587",
        "deeplabv3",
        default="DeepLabV3",
        paper="PaperDeepLabV3",
        torchvision="TorchvisionDeepLabV3",
    ),
    "deeplabv3plus": _image(
        2018,
        "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, arXiv 1802.02611",
        "deeplabv3plus",
        default="DeepLabV3Plus",
        paper="PaperDeepLabV3Plus",
    ),
    "gcn": _image(
        2017,
        "Large Kernel Matters: Improve Semantic Segmentation by Global Convolutional Network, "
        "arXiv 1703.02719",
        "gcn",
        default="GCN",
        paper="PaperGCN",
    ),
    "ksac": _image(
        2019,
        "See More Than Once: Kernel-Sharing Atrous Convolution for Semantic Segmentation, arXiv 1908.09443",
        "ksac",
        default="KSAC",
        paper="PaperKSAC",
    ),
    "unet3d": Architecture(
        "volume",
        "3D U-Net: Learning Dense Volumetric Segmentation from Sparse Annotation, arXiv 1606.06650",
        2016,
        {"default": "image.unet3d:UNet3D", "paper": "image.unet3d:PaperUNet3D"},
    ),
}
"""Every network that :func:`create` knows; a new one is a new entry."""


def create(
    name: str,
    num_classes: int,
    in_channels: int = 3,
    encoder: str | None = None,
    variant: str = "default",
    weights: str | None = None,
    multilabel: bool = False,
    **options: Any,
) -> SegmentationNetwork:
    """Build a network.

    Parameters
    ----------
    name
        Architecture, a key of ``ARCHITECTURES``.
    num_classes
        K, the number of logits per pixel; 1 is binary.
    in_channels
        Number of image channels.
    encoder
        Name of a timm encoder for variants that take one; None for the variant's own choice.
    variant
        ``"default"`` (practical) or ``"paper"`` (as published).
    weights
        Encoder weights: None (random), ``"imagenet"`` or a file. Nothing is downloaded.
    multilabel
        K independent sigmoids instead of a softmax.
    options
        Further arguments of the network's class.

    Raises
    ------
    UsageError
        An unknown name, variant or option (the nearest is suggested), or a contradictory one.
    DataError
        The weights file cannot be read or does not fit.
    MissingExtraError
        torch or timm is not installed.

    Examples
    --------
    >>> network = create("deeplabv3plus", num_classes=21)
    >>> create(**network.arguments).num_classes
    21
    """
    if name not in ARCHITECTURES:
        raise unknown_name("architecture", name, ARCHITECTURES)
    variants = ARCHITECTURES[name].variants
    if variant not in variants:
        raise unknown_name(f"variant of '{name}'", variant, variants)
    cls = _load_class(variants[variant])
    chosen = {"encoder": encoder, "weights": weights, **options}
    chosen = {key: value for key, value in chosen.items() if value is not None}
    _check_options(f"'{name}' (variant '{variant}')", cls, chosen)
    network = cls(num_classes, in_channels, multilabel=multilabel, **chosen)
    chosen.pop("weights", None)
    network.arguments = {
        "name": name,
        "num_classes": num_classes,
        "in_channels": in_channels,
        "variant": variant,
        "multilabel": multilabel,
        **chosen,
    }
    return network


def list() -> builtins.list[dict[str, Any]]:
    """Describe every network: name, task, paper, year, variants, parameters, gflops, counts. Needs no torch.

    ``parameters`` counts those of the default variant for 21 classes; ``gflops`` its multiply-adds in units
    of 1e9 for one image of 512x512 pixels (one volume of 64x128x128 voxels for ``task`` "volume"); ``counts``
    has both for every variant.

    >>> [row["year"] for row in list() if row["name"] == "deeplabv3plus"]
    [2018]
    """
    table = json.loads(resources.files(__name__).joinpath("table.json").read_text(encoding="utf-8"))
    return [
        {
            "name": name,
            "task": entry.task,
            "paper": entry.paper,
            "year": entry.year,
            "variants": [*entry.variants],
            **table[name]["default"],
            "counts": table[name],
        }
        for name, entry in ARCHITECTURES.items()
    ]


def describe(name: str, num_classes: int = 21, **options: Any) -> builtins.list[dict[str, Any]]:
    """Describe the layers of a network in the order in which they are made: name, kind, output, parameters.

    ``output`` is the shape without the batch for one image of 512x512 pixels (volume of 64x128x128 voxels);
    empty for a layer that prediction does not use. ``options`` as for :func:`create`, whose errors it raises.

    >>> describe("unet", 2, encoder="resnet18")[0]["output"]
    [64, 256, 256]
    """
    try:
        from pixelwise.models import table
    except ModuleNotFoundError:
        raise MissingExtraError("building a network", "train") from None

    return table.describe(name, num_classes, **options)


def _load_class(home: str) -> Any:
    module, _, name = home.partition(":")
    try:
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in {"torch", "timm", "torchvision"}:
            raise MissingExtraError("building a network", "train") from None
        raise


def _check_options(what: str, cls: Any, chosen: Mapping[str, Any]) -> None:
    """Options must be arguments of the class: anything else is a mistake with a nearest name."""
    known = [key for key in inspect.signature(cls).parameters if key not in _COMMON]
    for key in chosen:
        if key in ("encoder", "weights") and key not in known:
            raise UsageError(f"{what} takes no {key}: leave it out")
        if key not in known:
            raise unknown_name(f"option of {what}", key, known)


_COMMON = ("num_classes", "in_channels", "multilabel")
