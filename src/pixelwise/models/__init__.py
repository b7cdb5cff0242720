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

__all__ = ["ARCHITECTURES", "Architecture", "create", "list"]


@dataclass(frozen=True)
class Architecture:
    """One published system: what it labels, where it was published, and the classes that build it."""

    task: str
    paper: str
    year: int
    variants: Mapping[str, str]
    """Variant name -> "module:Class" below ``pixelwise.models``."""


_FCN = "Fully Convolutional Networks for Semantic Segmentation, arXiv 1411.4038"

ARCHITECTURES: dict[str, Architecture] = {
    "fcn32s": Architecture(
        "image", _FCN, 2015, {"default": "image.fcn:FCN32s", "paper": "image.fcn:PaperFCN32s"}
    ),
    "fcn16s": Architecture(
        "image", _FCN, 2015, {"default": "image.fcn:FCN16s", "paper": "image.fcn:PaperFCN16s"}
    ),
    "fcn8s": Architecture(
        "image", _FCN, 2015, {"default": "image.fcn:FCN8s", "paper": "image.fcn:PaperFCN8s"}
    ),
    "unet": Architecture(
        "image",
        "U-Net: Convolutional Networks for Biomedical Image Segmentation, arXiv 1505.04597",
        2015,
        {"default": "image.unet:UNet", "paper": "image.unet:PaperUNet"},
    ),
    "deeplabv3plus": Architecture(
        "image",
        "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, arXiv 1802.02611",
        2018,
        {
            "default": "image.deeplabv3plus:DeepLabV3Plus",
            "paper": "image.deeplabv3plus:PaperDeepLabV3Plus",
        },
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
    """Describe every network: name, task, paper, year, variants, parameters, gflops. Needs no torch.

    ``parameters`` counts those of the default variant for 21 classes; ``gflops`` its multiply-adds in units
    of 1e9 for one image of 512x512 pixels.

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
            **table[name],
        }
        for name, entry in ARCHITECTURES.items()
    ]


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
