"""Training curves as inline SVG, and pictures as data URIs."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence

import cv2
import numpy as np

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#94a3b8"
INK, LINES = "#475569", "#e2e8f0"
_WIDEST = 640  # px; a picture in a page needs no more


def curve_figure(
    title: str,
    steps: Sequence[float],
    values: Sequence[float],
    *,
    colour: str = BLUE,
    smooth: bool = False,
    percent: bool = False,
    second: tuple[str, str, Sequence[float]] | None = None,
    along: str = "step",
) -> str:
    """One small chart as an SVG element, over training steps or whatever ``along`` says.

    Parameters
    ----------
    title
        What is drawn; it labels the line.
    steps, values
        N points; nan leaves a gap.
    colour
        Of the line.
    smooth
        Draw the values pale and their running mean on top.
    percent
        The values are shares: show them as percentages and mark the best.
    second
        Label, colour and N values of another line over the same steps.
    along
        What the horizontal axis is.

    Returns
    -------
    An ``<svg>`` element whose text is text, in the page's own font.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    x, y = np.asarray(steps, float), np.asarray(values, float)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 11}):
        figure = Figure(figsize=(4.6, 2.5), layout="constrained")
        axes = figure.subplots()
        marker = "o" if len(x) < 25 and not smooth else ""
        if second is not None:
            axes.plot(
                x, second[2], color=second[1], linewidth=1.4, label=second[0], marker=marker, markersize=2.5
            )
        if smooth and len(y) > 10:
            axes.plot(x, y, color=colour, linewidth=0.8, alpha=0.3)
            axes.plot(x, _running_mean(y), color=colour, linewidth=1.8, label=title)
        else:
            axes.plot(x, y, color=colour, linewidth=1.8, label=title, marker=marker, markersize=3)
        axes.yaxis.set_major_formatter("{x:g}")
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            if not np.isnan(y).all():
                best = int(np.nanargmax(y))
                axes.plot(x[best], y[best], "o", color=colour, markersize=6, markerfacecolor="white")
        if second is not None:
            axes.legend(frameon=False, fontsize=10, labelcolor=INK, loc="best")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(GREY)
        axes.grid(axis="y", color=LINES, linewidth=0.8)
        axes.tick_params(colors=INK, length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=along == "step"))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.set_xlabel(along, color=INK)
        text = io.StringIO()
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None})
    return inline_svg(text.getvalue())


def picture_uri(picture: np.ndarray) -> str:
    """H×W×3 uint8 RGB as a JPEG ``data:`` URI, at most 640 pixels wide."""
    height, width = picture.shape[:2]
    if width > _WIDEST:
        size = _WIDEST, max(1, round(height * _WIDEST / width))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, code = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return "data:image/jpeg;base64," + base64.b64encode(code.tobytes()).decode("ascii")


def _running_mean(values: np.ndarray) -> np.ndarray:
    """The mean over a centred window of a twentieth of the points, shorter at the ends."""
    reach = max(2, len(values) // 40)
    valid = ~np.isnan(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(valid, values, 0))])
    counts = np.concatenate([[0], np.cumsum(valid)])
    position = np.arange(len(values))
    low, high = np.maximum(position - reach, 0), np.minimum(position + reach + 1, len(values))
    number = counts[high] - counts[low]
    return np.divide(sums[high] - sums[low], number, out=np.full(len(values), np.nan), where=number > 0)


def inline_svg(svg: str) -> str:
    """The ``<svg>`` element alone: no XML head, no metadata, no fixed size, no fonts of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head, rest = svg.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    rest = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", rest)
    return f"{head}>{rest}"
