"""``pixelwise check``: the data doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pixelwise.cli.display import Display
from pixelwise.cli.options import Classes, Format, Json, Mapping, Quiet, parse_classes, parse_mapping


def command(
    source: Annotated[Path, typer.Argument(help="The data's folder.", show_default=False)],
    format: Format = "auto",
    classes: Classes = None,
    mapping: Mapping = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Examine a data set: counts, sizes, and everything that is wrong with it.

    Example: pixelwise check data/street

    Exits with 3 when there are errors.
    """
    from pixelwise.data import check, read

    with Display(quiet, json) as display:
        dataset = read(source, format=format, labels=parse_classes(classes), mapping=parse_mapping(mapping))
        report = check(
            dataset, progress=lambda done, total: display({"kind": "check", "done": done, "total": total})
        )
    display.result(report.text(), report.to_dict())
    if report.errors:
        raise typer.Exit(3)
