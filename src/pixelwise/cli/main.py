"""``pixelwise``: the verbs, and errors as one sentence with the right exit code."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, NoReturn

import typer

from pixelwise import __version__
from pixelwise.cli import check, convert, datasets, demo, evaluate, models, predict, train
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


for verb in (demo, check, convert, datasets, models, train, evaluate, predict):
    app.command(name=verb.__name__.rsplit(".", 1)[-1])(verb.command)


def main() -> None:
    """Run the command line: exit code 0 done, 1 failed, 2 usage, 3 bad data."""
    try:
        app()
    except PixelwiseError as error:
        _fail(str(error), error.exit_code)
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:
            _fail("stopped", 1)
        raise
    except Exception as error:
        if "PIXELWISE_TRACEBACK" in os.environ:
            raise
        kind = type(error).__name__
        reason = " ".join(str(error).split())[:300]
        _fail(f"{kind}: {reason} (this should not happen; PIXELWISE_TRACEBACK=1 shows where it did)", 1)


_INTERRUPTED = 130  # what typer makes of Ctrl-C


def _fail(message: str, code: int) -> NoReturn:
    if "--json" in sys.argv:
        print(json.dumps({"error": message, "exit_code": code}, ensure_ascii=False))
    print(f"pixelwise: {message}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
