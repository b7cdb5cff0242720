"""``pixelwise convert``: from one annotation format to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pixelwise.cli.display import Display
from pixelwise.cli.options import (
    Classes,
    Format,
    Json,
    LabelKey,
    Mapping,
    Quiet,
    ReadOptions,
    read_data,
)


def command(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="A data folder, an annotation file or a ZIP.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    to: Annotated[
        str,
        typer.Option("--to", help="labelme, cvat, via, rectlabel, labelbox, coco, voc, yolo or masks."),
    ],
    format: Format = "auto",
    classes: Classes = None,
    mapping: Mapping = None,
    split: Annotated[
        float | None, typer.Option("--split", help="Share of images for train, the rest for val, e.g. 0.8.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Which images --split draws.")] = 0,
    images: Annotated[str, typer.Option("--images", help="copy, link or none.")] = "copy",
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Pixels that outlines of masks may deviate to save corners.")
    ] = 0.0,
    label_key: LabelKey = None,
    options: ReadOptions = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert annotations, and count what the target cannot hold.

    Example: pixelwise convert labels/via.json labels-coco --to coco --map lorry=truck --split 0.8
    """
    from pixelwise.data import split_at_random, write

    dataset = read_data(source, format, None, classes, mapping, label_key, options)
    if split is not None:
        dataset = split_at_random(dataset, split, seed)
    with Display(quiet, json) as display:
        report = write(
            dataset,
            out,
            to,
            images=images,  # type: ignore[arg-type]  # an unknown word is reported there
            tolerance=tolerance,
            progress=lambda done, total: display({"kind": "convert", "done": done, "total": total}),
        )
    display.result(report.text(), report.to_dict())
