"""``pixelwise models``: the architectures, or the layers of one."""

from __future__ import annotations

from typing import Annotated

import typer

from pixelwise.cli.display import Display
from pixelwise.cli.options import Json, Quiet


def command(
    name: Annotated[str | None, typer.Argument(help="Show the layers of this architecture.")] = None,
    variant: Annotated[
        str, typer.Option("--variant", help="'default', 'paper' or 'torchvision'.")
    ] = "default",
    classes: Annotated[int, typer.Option("--classes", help="Number of classes.")] = 21,
    encoder: Annotated[str | None, typer.Option("--encoder", help="Any timm encoder.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the architectures with paper, year, parameters and cost; with NAME, the layers of one.

    Example: pixelwise models deeplabv3plus --variant paper
    """
    from pixelwise import models

    display = Display(quiet, json)
    if name is not None:
        layers = models.describe(name, classes, encoder=encoder, variant=variant)
        lines = [f"{'layer':40} {'kind':24} {'output':>18} {'parameters':>12}"]
        for layer in layers:
            output = "x".join(map(str, layer["output"]))
            lines.append(f"{layer['name']:40} {layer['kind']:24} {output:>18} {layer['parameters']:>12,}")
        total = sum(layer["parameters"] for layer in layers)
        lines.append(
            f"\n{total:,} parameters for {classes} classes; sizes of one input as {_INPUT} without batch."
        )
        display.result("\n".join(lines), layers)
        return
    rows = models.list()
    lines = [f"{'name':15} {'year':>4} {'variant':12} {'parameters':>12} {'GFLOPs':>8}  paper"]
    for row in rows:
        for variant_name, counts in row["counts"].items():
            first = variant_name == row["variants"][0]
            head = f"{row['name']:15} {row['year']:>4}" if first else " " * 20
            numbers = f"{counts['parameters']:>12,} {counts['gflops']:>8.1f}"
            lines.append(f"{head} {variant_name:12} {numbers}  {row['paper'] if first else ''}".rstrip())
    lines.append(f"\nParameters for 21 classes, GFLOPs (multiply-adds) at {_INPUT}.")
    display.result("\n".join(lines), rows)


_INPUT = "512x512 (volumes: 64x128x128)"
