"""``pixelwise benchmark``: models, engines and precisions on the user's own images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixelwise.cli.display import Display
from pixelwise.cli.options import (
    Classes,
    Device,
    Format,
    Json,
    LabelKey,
    Mapping,
    Quiet,
    ReadOptions,
    read_data,
)
from pixelwise.errors import UsageError

if TYPE_CHECKING:
    from pixelwise.evaluation.benchmark import Benchmark


def command(
    model: Annotated[
        list[str],
        typer.Option("--model", "-m", help="A bundled name, a bundle or a run folder; may be given again."),
    ],
    data: Annotated[
        str,
        typer.Option("--data", metavar="DIR|IMAGES", help="Labelled data, or a folder or pattern of images."),
    ],
    engine: Annotated[
        str | None,
        typer.Option("--engine", help="Some of openvino,onnxruntime,torch; by default all installed ones."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Some of fp32,bf16,int8; by default all that can run.")
    ] = None,
    images: Annotated[int, typer.Option("--images", help="How many images, spread evenly.")] = 50,
    repeat: Annotated[int, typer.Option("--repeat", help="How many timed rounds.")] = 3,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write report.html and benchmark.json here.")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Only this split, e.g. val or test.")] = None,
    format: Format = "auto",
    classes: Classes = None,
    mapping: Mapping = None,
    label_key: LabelKey = None,
    options: ReadOptions = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare models, engines and precisions: speed, start, memory, and mean IoU or agreement with fp32.

    Example: pixelwise benchmark --model runs/a --model runs/b --data data/street --split val --out speed
    """
    from pixelwise.api import benchmark

    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a folder for the report")
    source: Any = data
    if format != "auto" or classes or mapping or label_key or options:
        source = read_data(Path(data), format, None, classes, mapping, label_key, options)
    with Display(quiet, json) as display:
        found = benchmark(
            model,
            source,
            engines=_listed(engine),
            precisions=_listed(precision),
            device=device,
            images=images,
            repeat=repeat,
            split=split,
            progress=display,
        )
        if out is not None:
            from pixelwise.io import write_json
            from pixelwise.report.benchmark import write_benchmark_report

            write_json(out / "benchmark.json", found.to_dict())
            display.say(f"report: {write_benchmark_report(found, out / 'report.html')}")
    display.result("" if json else _text(found), found.to_dict())


_WORDS = 3  # columns of words: model, engine and precision, which share one column on a terminal


def _listed(text: str | None) -> list[str] | None:
    """``"fp32, bf16"`` as a list of names."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _text(found: Benchmark) -> str:
    """The table, what could not run, and what it was measured on."""
    machine = found.machine
    load = "" if found.load_at_start is None else f", load {found.load_at_start:.1f} before the start"
    rounds = f"median of {found.repeat} rounds" if found.repeat > 1 else "1 round"
    quality = "mean IoU" if found.labelled else "agreement with the model's own fp32"
    lines = [
        _table(found),
        f"* nothing else {'' if found.labelled else 'of the same model '}"
        f"is as good and faster, or as fast and better ({quality} against images/s)",
        f"{found.title}: {found.images} images, {rounds}, {found.seconds:.0f} s",
        f"{machine['cpu']}, {machine['cores']} cores{load}",
    ]
    lines += [
        f"not measured: {row.model} {row.engine} {row.precision}: {row.reason}" for row in found.left_out
    ]
    return "\n".join([*lines, *found.remarks])


def _table(found: Benchmark) -> str:
    import shutil
    from io import StringIO

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pixelwise.report.benchmark import cells, columns

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for heading in [*columns(found.labelled)[_WORDS:], ""]:
        table.add_column(heading, justify="right", no_wrap=True)
    for model in found.models:
        table.add_row(Text(model))
        for row in found.measurements:
            if row.model == model:
                numbers = cells(row, found.labelled)[_WORDS:]
                name = Text(f"  {row.engine} {row.precision}")
                table.add_row(name, *numbers, "*" if row.pareto else "")
    text = StringIO()
    Console(file=text, width=shutil.get_terminal_size((120, 24)).columns, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().strip("\n").splitlines())
