"""The page of a benchmark: speed against quality in one figure, the table, and how it was measured."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pixelwise.evaluation.benchmark import Benchmark, Measurement
from pixelwise.io import write_text
from pixelwise.report.pages import template
from pixelwise.report.pareto import Point, colours_of, pareto_figure
from pixelwise.report.wording import card, duration


def write_benchmark_report(benchmark: Benchmark, path: str | Path) -> Path:
    """Write the page of a benchmark: one HTML file that needs nothing else.

    Parameters
    ----------
    benchmark
        What was found.
    path
        The page to write.

    Returns
    -------
    The page's path.
    """
    colours = colours_of(benchmark.models)
    fastest = max(row.images_per_second for row in benchmark.measurements)
    page = {
        "title": benchmark.title,
        "subtitle": [
            benchmark.machine["cpu"],
            f"{benchmark.machine['cores']} cores",
            datetime.now().strftime("%d %B %Y, %H:%M").lstrip("0"),
        ],
        "cards": _cards(benchmark),
        "remarks": benchmark.remarks,
        "labelled": benchmark.labelled,
        "figure_lead": _figure_lead(benchmark),
        "models": [{"name": name, "colour": colour} for name, colour in colours.items()],
        "figure": _figure(benchmark),
        "columns": columns(benchmark.labelled),
        "rows": [
            {
                "cells": cells(row, benchmark.labelled),
                "pareto": row.pareto,
                "colour": colours[row.model],
                "width": round(100 * row.images_per_second / fastest, 1),
            }
            for row in benchmark.measurements
        ],
        "left_out": benchmark.left_out,
        "method": _method(benchmark),
        "tables": [
            ("Machine", _machine(benchmark)),
            ("Images a second in each round", _rounds(benchmark)),
            ("Versions", list(benchmark.versions.items())),
        ],
        "numbers": benchmark.to_dict(),
    }
    write_text(path, template("benchmark.html").render(page))
    return Path(path)


def _figure(benchmark: Benchmark) -> str:
    """The figure, or nothing when fp32, which the agreement is with, could not run."""
    points = [_point(row) for row in benchmark.measurements if row.quality is not None]
    quality = "mean IoU" if benchmark.labelled else "pixels equal to fp32"
    return pareto_figure(points, quality, across_models=benchmark.labelled) if points else ""


def columns(labelled: bool) -> list[str]:
    """The headings of the table, those of words first."""
    words = ["Model", "Engine", "Precision"]
    speed = ["images/s", "p50 ms", "p95 ms", "start s", "MB"]
    return [*words, *speed, *(["mean IoU %"] if labelled else []), "as fp32 %"]


def cells(row: Measurement, labelled: bool) -> list[str]:
    """One line of the table, as text."""
    numbers = [
        number(row.images_per_second),
        number(row.latency_p50_ms),
        number(row.latency_p95_ms),
        f"{row.start_seconds:.2f}",
        f"{row.peak_bytes / 1e6:.0f}",
    ]
    shares = [row.mean_iou, row.agreement] if labelled else [row.agreement]
    return [row.model, row.engine, row.precision, *numbers, *map(_share, shares)]


def number(value: float) -> str:
    """About three digits.

    >>> number(1234.5), number(98.76), number(1.234), number(0.0123)
    ('1,234', '98.8', '1.23', '0.0123')
    """
    if value < 1:
        return f"{value:.3g}"
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _point(row: Measurement) -> Point:
    assert row.quality is not None
    return Point(
        model=row.model,
        engine=row.engine,
        precision=row.precision,
        speed=row.images_per_second,
        quality=row.quality,
        interval=row.mean_iou_interval,
        best=row.pareto,
    )


def _cards(benchmark: Benchmark) -> list[dict[str, str]]:
    rows = benchmark.measurements
    fast = max(rows, key=lambda row: row.images_per_second)
    quick = min(rows, key=lambda row: row.latency_p50_ms)
    small = min(rows, key=lambda row: row.peak_bytes)
    cards = [card("Fastest", f"{number(fast.images_per_second)} images/s", _name(fast, benchmark))]
    if benchmark.labelled:
        best = max(rows, key=lambda row: (round(row.quality or 0.0, 4), row.images_per_second))
        cards.append(card("Best mean IoU", f"{_share(best.quality)} %", _name(best, benchmark)))
    return [
        *cards,
        card("Shortest latency", f"{number(quick.latency_p50_ms)} ms", _name(quick, benchmark)),
        card("Least memory", f"{small.peak_bytes / 1e6:.0f} MB", _name(small, benchmark)),
    ]


def _name(row: Measurement, benchmark: Benchmark) -> str:
    """What to call a combination; the model is named only where there are several."""
    model = f"{row.model}, " if len(benchmark.models) > 1 else ""
    return f"{model}{row.engine} {row.precision}"


def _figure_lead(benchmark: Benchmark) -> str:
    filled = (
        "Filled is fp32, hollow bf16, half int8; circles are openvino, squares onnxruntime, triangles torch."
    )
    if not benchmark.labelled:
        return (
            "Further right is faster; further up, more pixels are labelled as the same model labels them in "
            f"fp32, which says nothing about how models compare. {filled}"
        )
    return (
        "Further right is faster, further up is better, and nothing lies beyond the line. Bars are 95 % "
        "intervals over images; as all were measured on the same images, their differences are surer than "
        f"the bars look. {filled}"
    )


def _method(benchmark: Benchmark) -> list[str]:
    again = " (some of them several times)" if benchmark.calls > benchmark.images else ""
    rounds = (
        f"The timed turns of all combinations alternated over {benchmark.repeat} rounds, and every number is "
        "the median over them, so that a busy minute does not fall on one combination alone."
        if benchmark.repeat > 1
        else "Each combination had a single timed turn, so a busy minute may have fallen on one alone."
    )
    quality = (
        "The mean IoU comes from the pixels of all images together, as pixelwise evaluate counts it, from "
        "the very masks that were written. "
        if benchmark.labelled
        else ""
    )
    return [
        f"Each turn had a process of its own, with nothing else of the benchmark running. {rounds} A first "
        "turn of each combination is not counted; it fills the caches.",
        f"Images a second: {benchmark.calls} images{again} from file to mask file, with reading and writing, "
        "as pixelwise predict does it. Latency: from one image in memory to its mask, without reading and "
        "writing; p50 is the middle, p95 what one image in twenty exceeds. Start: from starting the process "
        "to the first mask. MB: the most memory the process held. One image of every size was labelled "
        "before the clock ran.",
        f"{quality}As fp32: the share of pixels that get the same class as from the same model in fp32.",
    ]


def _machine(benchmark: Benchmark) -> list[tuple[str, str]]:
    machine, devices = benchmark.machine, {row.device for row in benchmark.measurements}
    rows = [
        ("Processor", str(machine["cpu"])),
        ("Cores", str(machine["cores"])),
        ("Devices", ", ".join(sorted(devices))),
        ("System", str(machine["system"])),
    ]
    if machine["memory_bytes"]:
        rows.append(("Memory", f"{machine['memory_bytes'] / 1e9:.0f} GB"))
    if benchmark.load_at_start is not None and benchmark.load_at_end is not None:
        rows.append(
            (
                "Load average",
                f"{benchmark.load_at_start:.1f} before the start, {benchmark.load_at_end:.1f} at the end",
            )
        )
    return [*rows, ("Images", str(benchmark.images)), ("Whole benchmark", duration(benchmark.seconds))]


def _rounds(benchmark: Benchmark) -> list[tuple[str, str]]:
    return [
        (
            f"{row.model}, {row.engine} {row.precision}",
            ", ".join(number(one["images_per_second"]) for one in row.rounds),
        )
        for row in benchmark.measurements
    ]
