"""Weights of torchvision's segmentation networks for the variants that repeat them.

Source: torchvision.models.segmentation (BSD-3), whose names for the same layers are in the table below.
"""

from __future__ import annotations

import re

from pixelwise.errors import DataError
from pixelwise.models.encoders.weights import read_state_dict
from pixelwise.models.network import SegmentationNetwork


def split_weights(path: str | None) -> tuple[str | None, str | None]:
    """Tell whether a file holds a whole network or an encoder: (network, encoder), one of them None."""
    if path is None or path == "imagenet":
        return None, path
    whole = any(name.startswith("backbone.") for name in read_state_dict(path))
    return (path, None) if whole else (None, path)


_NAMES = (
    (r"^encoder\.net\.", "backbone."),
    (r"^extra\.", "aux_classifier."),
    (
        r"^classifier\.0\.branches\.(\d+)\.conv\.",
        r"classifier.0.convs.\1.1.",
    ),  # image pooling: after the pool
    (r"^classifier\.0\.branches\.(\d+)\.norm\.", r"classifier.0.convs.\1.2."),
    (r"^classifier\.0\.branches\.", "classifier.0.convs."),
)
"""Our names (as patterns) and torchvision's."""


def torchvision_name(name: str) -> str:
    """What torchvision calls a tensor of ours.

    >>> torchvision_name("classifier.0.branches.4.conv.weight")
    'classifier.0.convs.4.1.weight'
    """
    for pattern, theirs in _NAMES:
        name, found = re.subn(pattern, theirs, name)
        if found:
            break
    return name


def load_torchvision(network: SegmentationNetwork, path: str) -> None:
    """Copy a state dict of torchvision's network of the same kind.

    The auxiliary classifier is left out where the network has none.

    Raises
    ------
    DataError
        It is the state dict of another network (a tensor and both shapes are named); nothing is loaded then.
    """
    state, own = read_state_dict(path), network.state_dict()
    for name, tensor in own.items():
        theirs = torchvision_name(name)
        if theirs not in state:
            hint = (
                "auxiliary_head=False leaves it out" if name.startswith("extra.") else "give the same encoder"
            )
            raise DataError(f"{path}: has no tensor '{theirs}', which this network needs; {hint}")
        if state[theirs].shape != tensor.shape:
            raise DataError(
                f"{path}: '{theirs}' has shape {tuple(state[theirs].shape)} where this network has "
                f"{tuple(tensor.shape)}; give the same encoder, channels and number of classes"
            )
    unused = state.keys() - {torchvision_name(name) for name in own}
    unused = {name for name in unused if not name.startswith("aux_classifier.")}
    if unused:
        raise DataError(f"{path}: this network has no tensor '{min(unused)}'; give the same encoder")
    network.load_state_dict({name: state[torchvision_name(name)] for name in own})
