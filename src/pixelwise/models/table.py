"""Makes ``table.json``, the numbers that ``models.list()`` shows: ``python -m pixelwise.models.table``.

Networks are built on torch's meta device (shapes without memory) with 21 classes and three channels, and
run on one image of 512×512 pixels or one volume of 64×128×128 voxels.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from pixelwise.io.atomic import atomic_write
from pixelwise.models import ARCHITECTURES, create

NUM_CLASSES = 21
SIZES = {2: (512, 512), 3: (64, 128, 128)}
"""By number of axes: an image, and a volume as large as patches of volumes usually are."""


def measure(name: str, variant: str = "default") -> dict[str, float]:
    """Count parameters and multiply-adds of an architecture.

    Returns
    -------
    dict
        ``parameters``, and ``gflops``: multiply-adds / 1e9 of convolutions for one image or volume.
    """
    with torch.device("meta"):
        network = create(name, num_classes=NUM_CLASSES, variant=variant).eval()
        image = torch.empty(1, network.in_channels, *SIZES[network.axes])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gflops": round(counter.get_total_flops() / 2e9, 2),
    }


def describe(name: str, num_classes: int, **options: Any) -> list[dict[str, Any]]:
    """The layers (modules without children) of an architecture that have parameters, with output shapes."""
    with torch.device("meta"):
        network = create(name, num_classes, **options).eval()
        image = torch.empty(1, network.in_channels, *SIZES[network.axes])
    rows: list[dict[str, Any]] = []
    for path, module in network.named_modules():
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if own == 0:
            continue
        row = {"name": path, "kind": type(module).__name__, "output": [], "parameters": own}
        rows.append(row)
        module.register_forward_hook(partial(_remember_shape, row))
    with torch.no_grad():
        network(image)
    return rows


def _remember_shape(row: dict[str, Any], module: torch.nn.Module, inputs: Any, output: Any) -> None:
    if isinstance(output, torch.Tensor):
        row["output"] = list(output.shape[1:])


def main() -> None:
    """Write the table beside this file."""
    table = {
        name: {variant: measure(name, variant) for variant in entry.variants}
        for name, entry in ARCHITECTURES.items()
    }
    with atomic_write(Path(__file__).with_name("table.json")) as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
