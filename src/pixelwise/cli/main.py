"""``pixelwise``: the verbs, and errors as one sentence with the right exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import zip_longest
from typing import Annotated, NoReturn

import typer

from pixelwise import __version__
from pixelwise.errors import PixelwiseError

VERBS = (
    "demo",
    "check",
    "convert",
    "datasets",
    "models",
    "train",
    "evaluate",
    "predict",
    "benchmark",
    "export",
)
"""The verbs in the order of the help text; each is a module of this package with a ``command``."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pixelwise {__version__}")
        raise typer.Exit()


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The command line for these arguments: the verb that they begin with, or else all verbs.

    Importing all of them would take as long as labelling a few photos.
    """
    app = typer.Typer(
        name="pixelwise",
        help="Label every pixel of an image, every frame of a video, every point of a cloud.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_options)
    for verb in arguments[:1] if arguments[:1] and arguments[0] in VERBS else VERBS:
        app.command(name=verb)(import_module(f"pixelwise.cli.{verb}").command)
    return app


def _with_addresses(arguments: Sequence[str]) -> Iterator[str]:
    """``--ray`` alone means ``--ray local``: options whose value may be missing are beyond typer."""
    for word, following in zip_longest(arguments, arguments[1:], fillvalue="-"):
        yield word
        if word == "--ray" and following.startswith("-"):
            yield "local"


def main() -> None:
    """Run the command line: exit code 0 done, 1 failed, 2 usage, 3 bad data."""
    arguments = list(_with_addresses(sys.argv[1:]))
    try:
        build_app(arguments)(arguments)
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
