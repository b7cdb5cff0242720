"""``pixelwise models``: the architectures."""

from __future__ import annotations

from pixelwise.cli.display import Display
from pixelwise.cli.options import Json, Quiet


def command(json: Json = False, quiet: Quiet = False) -> None:
    """List the architectures with paper, year, parameters and cost.

    Example: pixelwise models --json
    """
    from pixelwise import models

    rows = models.list()
    lines = [f"{'name':15} {'year':>4} {'variants':15} {'parameters':>12} {'GFLOPs':>8}  paper"]
    for row in rows:
        variants = ", ".join(row["variants"])
        numbers = f"{row['parameters']:>12,} {row['gflops']:>8.1f}"
        lines.append(f"{row['name']:15} {row['year']:>4} {variants:15} {numbers}  {row['paper']}")
    lines.append("\nParameters for 21 classes, GFLOPs (multiply-adds) at 512x512, default variant.")
    Display(quiet, json).result("\n".join(lines), rows)
