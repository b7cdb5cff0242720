"""Numbers and classes as the pages show them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pixelwise.labels import LabelMap


def card(label: str, value: str, note: str) -> dict[str, str]:
    """A number to stand out, with what it is and a remark."""
    return {"label": label, "value": value, "note": note}


def chip(labels: LabelMap, position: int) -> dict[str, str]:
    """A class's name and colour."""
    return {"name": labels.names[position], "colour": css(labels.colours[position])}


def css(colour: tuple[int, int, int]) -> str:
    """A colour as style sheets write it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def percent(value: float, digits: int = 1) -> str:
    """A share as percentage; nan is a dash."""
    return "-" if math.isnan(value) else f"{100 * value:.{digits}f} %"


def or_nan(value: float | None) -> float:
    """JSON's null as nan."""
    return math.nan if value is None else value


def size_text(height_width: Sequence[int] | None) -> str:
    """(height, width) as people write sizes."""
    return f"{height_width[1]}x{height_width[0]}" if height_width else "-"


def short(number: int) -> str:
    """3 significant digits with k, M or G.

    >>> short(999), short(7_812_345), short(17_452_800)
    ('999', '7.81 M', '17.5 M')
    """
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours.

    >>> duration(9.24), duration(75), duration(7325)
    ('9.2 s', '1 min 15 s', '2 h 02 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
