"""``pixelwise``: the verbs, and errors as one sentence with the right exit code."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from pixelwise import __version__
from pixelwise.cli import check, demo, evaluate, models, predict, train
from pixelwise.errors import PixelwiseError

app = typer.Typer(
    name="pixelwise",
    help="Label every pixel of an image, every frame of a video, every point of a cloud.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pixelwise {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for verb in (demo, check, models, train, evaluate, predict):
    app.command(name=verb.__name__.rsplit(".", 1)[-1])(verb.command)


def main() -> None:
    """Run the command line: exit code 0 done, 1 failed, 2 usage, 3 bad data."""
    try:
        app()
    except PixelwiseError as error:
        if "--json" in sys.argv:
            print(json.dumps({"error": str(error), "exit_code": error.exit_code}))
        print(f"pixelwise: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("pixelwise: stopped", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
