"""Speed against quality as inline SVG: a frontier, and labels that do not cover each other."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pixelwise.report.figures import BLUE, GREY, INK, LINES, ORANGE, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (BLUE, ORANGE, "#0d9488", "#9333ea", "#ca8a04", "#db2777", "#475569")
_MARKERS = {"openvino": "o", "onnxruntime": "s", "torch": "^"}
_FILLS = {"fp32": "full", "bf16": "none", "int8": "left"}
_MARKER = 8.0  # points
_MARGIN = np.array([-1.0, -1.0, 1.0, 1.0])  # a pixel on each side of a box
_DISTANCES = (9.0, 20.0, 34.0, 50.0, 70.0)  # points between a marker and its label, nearest first
_SHIFT = {1: 0.0, 0: 0.5, -1: 1.0}  # how far a label's start lies before its place, as a share of its size
_DIRECTIONS = ((1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1))


Line = tuple[list[float], list[float]]


@dataclass(frozen=True)
class Point:
    """A combination in the figure: images a second, a share, its interval, whether it is on the frontier."""

    model: str
    engine: str
    precision: str
    speed: float
    quality: float
    interval: tuple[float, float] | None = None
    best: bool = False


def colours_of(models: Sequence[str]) -> dict[str, str]:
    """A colour for every model."""
    return dict(zip(models, cycle(_COLOURS), strict=False))


def pareto_figure(points: Sequence[Point], quality: str, across_models: bool = True) -> str:
    """Images a second on a logarithmic axis against quality.

    Parameters
    ----------
    points
        What to draw; those with ``best`` make the frontier.
    quality
        What the vertical axis is.
    across_models
        One frontier for all models, or one for each where their qualities cannot be compared.

    Returns
    -------
    An ``<svg>`` element whose text is text, in the page's own font.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    colours = colours_of(list(dict.fromkeys(point.model for point in points)))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": quality, "font.size": 11}):
        figure = Figure(figsize=(10, 5.2), layout="constrained", dpi=72)  # the resolution of SVG
        axes = figure.subplots()
        _set_up(axes, points, quality)
        lines = [_steps(group, axes) for group, _ in _frontiers(points, colours, across_models)]
        for (x, y), (_, colour) in zip(lines, _frontiers(points, colours, across_models), strict=True):
            axes.plot(x, y, color=colour, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)
        for point in points:
            _draw_point(axes, point, colours[point.model])
        lines += [([point.speed] * 2, list(point.interval)) for point in points if point.interval]
        canvas = FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        _draw_labels(axes, points, colours, lines, canvas.get_renderer())
        text = io.StringIO()
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None})
    return inline_svg(text.getvalue())


def _set_up(axes: Axes, points: Sequence[Point], quality: str) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

    speeds = [point.speed for point in points]
    ends = [end for point in points for end in (point.interval or (point.quality, point.quality))]
    margin = max(0.12 * (max(ends) - min(ends)), 0.002)
    axes.set_xscale("log")
    axes.set_xlim(min(speeds) / 1.3, max(speeds) * 1.5)
    axes.set_ylim(min(ends) - margin, max(ends) + margin)
    narrow = max(speeds) < 5 * min(speeds)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8) if narrow else (1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    fine = max(ends) - min(ends) + 2 * margin < 0.03
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=2 if fine else 0))
    axes.set_xlabel("images a second, from file to mask file (log scale)", color=INK)
    axes.set_ylabel(quality, color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.grid(axis="y", color=LINES, linewidth=0.8)
    axes.tick_params(which="both", colors=INK, length=0)
    axes.set_axisbelow(True)


def _frontiers(
    points: Sequence[Point], colours: dict[str, str], across_models: bool
) -> list[tuple[list[Point], str]]:
    best = sorted((point for point in points if point.best), key=lambda point: point.speed)
    if across_models:
        return [(best, GREY)]
    return [([p for p in best if p.model == model], colour) for model, colour in colours.items()]


def _steps(best: Sequence[Point], axes: Axes) -> Line:
    """The edge of what can be had: from each point left to the next better one, and up to it."""
    if not best:
        return [], []
    x, y = [axes.get_xlim()[0]], [best[0].quality]
    for point, after in zip(best, [*best[1:], None], strict=True):
        x += [point.speed, point.speed]
        y += [point.quality, after.quality if after else axes.get_ylim()[0]]
    return x, y


def _draw_point(axes: Axes, point: Point, colour: str) -> None:
    if point.interval is not None:
        axes.plot([point.speed] * 2, point.interval, color=colour, linewidth=1.4, alpha=0.3, zorder=2)
    axes.plot(
        [point.speed],
        [point.quality],
        marker=_MARKERS.get(point.engine, "D"),
        markersize=_MARKER,
        color=colour,
        fillstyle=_FILLS.get(point.precision, "full"),
        markerfacecoloralt="white",
        markeredgecolor=colour,
        markeredgewidth=1.6,
        zorder=3,
    )


def _draw_labels(
    axes: Axes, points: Sequence[Point], colours: dict[str, str], lines: Sequence[Line], renderer: Any
) -> None:
    """Write beside every point what it is, at the nearest place where nothing else is.

    A label may cross a line if it must. Where only a place on another label or marker is left, a point that
    is not on the frontier goes without: its marker and the table say the same.
    """
    frame = np.asarray(axes.get_window_extent(renderer).extents)
    taken = [_box_of(axes, point) for point in points]
    crossed = [box for line in lines for box in _boxes_of(axes, line)]

    def cost_of(box: np.ndarray, place: tuple[float, float]) -> tuple[float, float]:
        # Across an upright line a label covers some 30 square pixels: worth going a little further, not far.
        away = 2 * max(map(abs, place))
        return _covered(box, taken) + _outside(box, frame), _covered(box, crossed) + away

    places = [(right * far, up * far) for far in _DISTANCES for right, up in _DIRECTIONS]
    for point in sorted(points, key=lambda point: (not point.best, -point.quality, point.speed)):
        boxes = _boxes_at(axes, point, places, renderer)
        cost, place, box = min(
            ((cost_of(box, place), place, box) for place, box in zip(places, boxes, strict=True)),
            key=lambda found: found[0],
        )
        if cost[0] < 1 or point.best:
            _annotate(axes, point, place, colours[point.model])
            taken.append(box + _MARGIN)


def _boxes_at(
    axes: Axes, point: Point, places: Sequence[tuple[float, float]], renderer: Any
) -> Iterator[np.ndarray]:
    """What the label would cover at each of these distances (right, up) from its point."""
    text = axes.text(0, 0, _label(point), **_font(point))
    size = text.get_window_extent(renderer)
    text.remove()
    x, y = axes.transData.transform((point.speed, point.quality))
    for right, up in places:  # points are pixels at this resolution
        left = x + right - size.width * _SHIFT[np.sign(right)]
        low = y + up - size.height * _SHIFT[np.sign(up)]
        yield np.array([left, low, left + size.width, low + size.height])


def _annotate(axes: Axes, point: Point, place: tuple[float, float], colour: str) -> None:
    far = max(map(abs, place)) > _DISTANCES[0]
    line = {"arrowstyle": "-", "color": colour, "alpha": 0.4, "shrinkB": 4, "lw": 0.8}
    text = axes.annotate(
        _label(point),
        (point.speed, point.quality),
        place,
        textcoords="offset points",
        ha={1: "left", 0: "center", -1: "right"}[int(np.sign(place[0]))],
        va={1: "bottom", 0: "center", -1: "top"}[int(np.sign(place[1]))],
        color=colour,
        arrowprops=line if far else None,
        zorder=4,
        **_font(point),
    )
    text.set_in_layout(False)


def _label(point: Point) -> str:
    return f"{point.engine} {point.precision}"


def _font(point: Point) -> dict[str, Any]:
    return {"fontsize": 10.5, "fontweight": "bold" if point.best else "normal", "parse_math": False}


def _box_of(axes: Axes, point: Point) -> np.ndarray:
    """What a marker covers: its left, lower, right and upper end in pixels of the figure."""
    centre = axes.transData.transform((point.speed, point.quality))
    return np.tile(centre, 2) + (_MARKER / 2 + 1) * _MARGIN


def _boxes_of(axes: Axes, line: Line) -> list[np.ndarray]:
    """What the upright and level pieces of a line cover."""
    corners = axes.transData.transform(list(zip(*line, strict=True)))
    return [
        np.concatenate([np.minimum(start, end), np.maximum(start, end)]) + _MARGIN
        for start, end in pairwise(corners)
    ]


def _covered(box: np.ndarray, others: Sequence[np.ndarray]) -> float:
    """The area that a box shares with others."""
    if not len(others):
        return 0.0
    ends = np.stack(others)
    sides = np.minimum(box[2:], ends[:, 2:]) - np.maximum(box[:2], ends[:, :2])
    return float(sides.clip(0).prod(axis=1).sum())


def _outside(box: np.ndarray, frame: np.ndarray) -> float:
    """The area of a box that lies outside of a frame."""
    return max(0.0, float((box[2:] - box[:2]).prod()) - _covered(box, [frame]))
