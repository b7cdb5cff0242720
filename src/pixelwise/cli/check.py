"""``pixelwise check``: the data doctor."""

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
        Path,
        typer.Argument(help="The data's folder, an annotation file or a ZIP.", show_default=False),
    ],
    report: Annotated[
        Path | None, typer.Option("--report", help="Write an HTML page with samples to look at here.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="How many samples the page shows.")] = 12,
    format: Format = "auto",
    classes: Classes = None,
    mapping: Mapping = None,
    label_key: LabelKey = None,
    options: ReadOptions = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Examine a data set: counts, sizes, and everything that is wrong with it.

    Example: pixelwise check data/street --report street.html

    Exits with 3 when there are errors.
    """
    from pixelwise.data import check

    with Display(quiet, json) as display:
        dataset = read_data(source, format, None, classes, mapping, label_key, options)
        found = check(
            dataset, progress=lambda done, total: display({"kind": "check", "done": done, "total": total})
        )
        if report is not None:
            from pixelwise.report import write_check_report

            write_check_report(found, dataset, report, samples)
    display.result(found.text(), found.to_dict())
    if found.errors:
        raise typer.Exit(3)
