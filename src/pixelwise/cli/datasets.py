"""``pixelwise datasets``: the public data sets, all that is known of one, or whether a copy is complete."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pixelwise.cli.display import Display
from pixelwise.cli.options import Json, Quiet
from pixelwise.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from pixelwise.data.datasets import PublicDataset


def command(
    name: Annotated[str | None, typer.Argument(help="Show all that is known of this data set.")] = None,
    root: Annotated[Path | None, typer.Argument(help="Verify the copy in this folder.")] = None,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="With ROOT: count the pixels of each class as well.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List public data sets; with NAME, all about one; with ROOT, whether that copy is complete.

    Example: pixelwise datasets camvid data/CamVid

    Nothing is downloaded. Exits with 3 when something is missing.
    """
    from pixelwise.data.datasets import CATALOGUE, verify

    if statistics and root is None:
        raise UsageError("--statistics needs NAME and ROOT: the data set and the folder of your copy")
    if name is not None and name not in CATALOGUE:
        raise unknown_name("data set", name, CATALOGUE)
    display = Display(quiet, json)
    if name is None:
        rows = [info.to_dict() for info in CATALOGUE.values()]
        display.result("\n".join(_table(CATALOGUE.values())), rows)
        return
    if root is None:
        display.result("\n".join(_page(CATALOGUE[name])), CATALOGUE[name].to_dict())
        return
    with display:
        result = verify(
            name,
            root,
            statistics,
            progress=lambda done, total: display({"kind": "count", "done": done, "total": total}),
        )
    display.result(result.text().rstrip("\n"), result.to_dict())
    if not result.ok:
        raise typer.Exit(3)


def _table(infos: Iterable[PublicDataset]) -> Iterator[str]:
    for info in infos:
        yield f"{info.name} ({info.task}): {info.title}"
        yield from _wrapped("classes", ", ".join(info.classes))
        yield from _wrapped("splits", _counts(info))
        yield from _wrapped("size", info.size)
        yield from _wrapped("licence", info.licence)
        yield from _wrapped("obtain", info.obtain)
        yield ""
    yield "'pixelwise datasets NAME' has layout, colours and traps; with a folder it verifies your copy."


def _page(info: PublicDataset) -> Iterator[str]:
    yield f"{info.title} ({info.name}), {info.task}"
    yield from _wrapped("source", info.source)
    yield from _wrapped("splits", _counts(info))
    yield from _wrapped("size", info.size)
    yield from _wrapped("licence", info.licence)
    yield from _wrapped("obtain", info.obtain)
    yield "\nlayout"
    yield from (f"  {line}" for line in info.layout)
    if info.notes:
        yield "\nnotes"
    for note in info.notes:
        yield textwrap.fill(note, 100, initial_indent="  - ", subsequent_indent="    ")
    others = [f"{option} ({len(labels)})" for option, labels in info.classes.items()]
    yield f"\nclasses={' | '.join(others)}; the first one:"
    labels = info.labels
    width = max(map(len, labels.names))
    yield f"  {'id':>5}  {'class':<{width}}  {'colour':<11}{'share':>10}{'weight':>10}".rstrip()
    for position, (name, colour) in enumerate(zip(labels.names, labels.colours, strict=True)):
        share = f"{100 * info.shares[name]:.2f} %" if name in info.shares else ""
        weight = f"{info.weights[name]:.4f}" if name in info.weights else ""
        rgb = ",".join(map(str, colour))
        yield f"  {position:>5}  {name:<{width}}  {rgb:<11}{share:>10}{weight:>10}".rstrip()
    yield f"  {labels.ignore:>5}  (ignored)"


def _wrapped(word: str, text: str) -> list[str]:
    return textwrap.wrap(f"{word:8} {text}", 110, initial_indent="  ", subsequent_indent=" " * 11)


def _counts(info: PublicDataset) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in info.splits.items())
