"""The page of a benchmark, and its figure."""

import json
import re

import pytest

from pixelwise.evaluation.benchmark import Benchmark, LeftOut, Measurement, mark_pareto
from pixelwise.report.benchmark import write_benchmark_report
from pixelwise.report.pareto import Point, pareto_figure
from tests.report.test_report import Page


def found(labelled=True):
    rows = [
        Measurement(
            model=model,
            engine=engine,
            precision=precision,
            device="cpu",
            images_per_second=speed,
            latency_p50_ms=1234.5,
            latency_p95_ms=2000,
            start_seconds=1.5,
            peak_bytes=300_000_000,
            mean_iou=iou if labelled else None,
            mean_iou_interval=(iou - 0.05, iou + 0.05) if labelled else None,
            agreement=1.0,
            rounds=({"images_per_second": speed},),
        )
        for model, iou, factor in (("_street & <co> $x$", 0.7, 1), ("street-2", 0.6, 0.5))
        for engine, precision, speed in (("openvino", "bf16", 30 * factor), ("torch", "fp32", 2 * factor))
    ]
    left = [LeftOut("street-2", "onnxruntime", "int8", "'street-2' has no <int8> graph")]
    return Benchmark(
        "streets", "val", 12, labelled, 20, 3, mark_pareto(rows, labelled), left, ["the machine was busy"]
    )


@pytest.mark.parametrize("labelled", [True, False])
def test_a_page_says_everything_and_needs_nothing_else(tmp_path, labelled):
    page = Page(write_benchmark_report(found(labelled), tmp_path / "deep" / "report.html"))
    assert page.open == [] and all(address.startswith("#") for address in page.addresses)
    for words in (
        "streets (val)",
        "_street & <co> $x$",
        "30.0 images/s",
        "1,234",
        "'street-2' has no <int8> graph",
        "20 images (some of them several times)",
        "the machine was busy",
        "openvino bf16",
    ):
        assert words in page.text, words
    assert ("mean IoU" in page.text) == labelled
    assert page.text.count("★") == 1 + (1 if labelled else 2)
    numbers = json.loads(page.scripts[0])
    assert [row["model"] for row in numbers["measurements"]][::2] == ["_street & <co> $x$", "street-2"]


def test_a_figure_without_a_single_quality_is_still_a_page(tmp_path):
    benchmark = found(labelled=False)
    benchmark.measurements = [
        Measurement("m", "torch", "bf16", "cpu", 5, 1, 1, 1, 1, None, None, agreement=None)
    ]
    page = Page(write_benchmark_report(benchmark, tmp_path / "report.html"))
    assert "5.00" in page.text and "<svg" not in page.source


def places(svg):
    """The words of the figure's labels with the corner they start at."""
    return re.findall(r"<!-- (\w+ \w+) -->", svg) or re.findall(r">(\w+ (?:fp32|bf16|int8))<", svg)


def test_every_point_that_nothing_beats_has_a_label():
    points = [
        Point(f"m{number}", "openvino", "fp32", 10.0 + 0.001 * number, 0.9 - 0.0001 * number, best=True)
        for number in range(12)
    ]
    assert len(places(pareto_figure(points, "mean IoU"))) == 12


def test_crowded_points_that_are_beaten_go_without_a_label():
    best = Point("a", "openvino", "fp32", 20.0, 0.9, best=True)
    crowd = [Point("a", "torch", "fp32", 10.0, 0.8) for _ in range(60)]
    labels = places(pareto_figure([best, *crowd], "mean IoU"))
    assert "openvino fp32" in labels and 1 < len(labels) < 61


def test_equal_figures_are_equal_text():
    points = [Point("a", "openvino", "fp32", 20.0, 0.9, (0.85, 0.93), best=True)]
    assert pareto_figure(points, "mean IoU") == pareto_figure(points, "mean IoU")
