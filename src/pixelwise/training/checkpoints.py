"""Checkpoints: everything an exact resume needs, written atomically, read without unpickling code."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pixelwise.errors import DataError
from pixelwise.io import atomic_write
from pixelwise.models.network import SegmentationNetwork

_FORMAT = 1


def save_checkpoint(path: Path, network: SegmentationNetwork, state: dict[str, Any]) -> None:
    """Write ``state`` with the arguments of the network that it belongs to."""
    buffer = io.BytesIO()  # torch hides a full disk behind an error of its own
    torch.save({"format": _FORMAT, "arguments": network.arguments, **state}, buffer)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path, network: SegmentationNetwork) -> dict[str, Any]:
    """Read a checkpoint and make sure that it belongs to this architecture.

    Raises
    ------
    DataError
        It is missing, damaged, or of a network with other arguments.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such checkpoint; the run stopped before its first one, start it again")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"{path}: not a readable checkpoint ({str(error).splitlines()[0][:120]})") from None
    found = state.get("arguments") or {}
    if found != network.arguments:
        differing = sorted(
            k for k in found.keys() | network.arguments if found.get(k) != network.arguments.get(k)
        )
        key = "name" if "name" in differing or not differing else differing[0]
        raise DataError(
            f"{path}: the checkpoint is of a network with {key} {found.get(key)!r}, the run's settings make "
            f"{network.arguments.get(key)!r}; resume with the settings that it was started with"
        )
    return state


def detached(module: nn.Module) -> dict[str, Tensor]:
    """A module's state dict on the CPU, without gradients."""
    return {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}
