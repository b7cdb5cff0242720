"""``pixelwise demo``: the main job from end to end, on data that it makes itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pixelwise.cli.display import Display
from pixelwise.cli.options import Json, Quiet


def command(
    out: Annotated[Path, typer.Option("--out", help="The folder for everything it makes.")] = Path("demo"),
    minutes: Annotated[float, typer.Option("--minutes", help="Longest training time.")] = 2.75,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a street data set, check it, train, evaluate, predict stills and a clip, write the report.

    Example: pixelwise demo --out demo
    """
    from pixelwise.demo import demo

    with Display(quiet, json) as display:
        result = demo(out, minutes=minutes, progress=display)
    text = (
        f"{result['table']}\n\n"
        f"look at   {result['report']}\n"
        f"stills    {result['stills']}\n"
        f"a clip    {result['clip']}\n"
        f"the model {result['model']}\n"
        f"next      pixelwise predict photo.jpg --model {result['model']} --out predictions"
    )
    display.result(text, {key: value for key, value in result.items() if key != "table"})
