"""Class names, colours and the ignored id, kept together and saved with every model."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pixelwise.errors import DataError, unknown_name

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelMap:
    """The classes of a data set or a model: ids are the positions 0..K-1 of ``names``.

    Classes are joined by NAME, never by the order in which they were seen.

    Parameters
    ----------
    names
        K distinct, non-empty class names.
    colours
        K RGB triples 0..255; distinct default colours when empty.
    ignore
        The id that means "no label here": 255, or 65535 when K > 255.

    Raises
    ------
    DataError
        Names repeat or are empty, or colours and names differ in number.

    Examples
    --------
    >>> labels = LabelMap(("road", "car"))
    >>> labels.index("car"), labels.ignore, len(labels)
    (1, 255, 2)
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...] = ()
    ignore: int = -1

    def __post_init__(self) -> None:
        names = tuple(str(name).strip() for name in self.names)
        if not names:
            raise DataError("a label map needs at least one class name")
        if "" in names:
            raise DataError(f"class {names.index('')} has an empty name: give every class a name")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise DataError(
                f"class names must be distinct, found more than once: {', '.join(repeated)}; "
                "rename or remove them"
            )
        colours = tuple((int(r), int(g), int(b)) for r, g, b in self.colours) or default_colours(len(names))
        if len(colours) != len(names):
            raise DataError(f"{len(names)} class names but {len(colours)} colours: give one colour per class")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "colours", colours)
        if self.ignore < 0:
            object.__setattr__(self, "ignore", 255 if len(names) <= 255 else 65535)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """The smallest type that holds every id and ``ignore``: uint8 or uint16."""
        return np.uint8 if max(self.ignore, len(self) - 1) <= 255 else np.uint16

    def index(self, name: str) -> int:
        """The id of a class name; an unknown name raises UsageError with the nearest known one."""
        if name not in self.names:
            raise unknown_name("class", name, self.names)
        return self.names.index(name)

    def palette(self) -> np.ndarray:
        """256x3 uint8 colours by id, for palette PNGs and overlays; the ignored id is white."""
        table = np.zeros((256, 3), np.uint8)
        table[: min(len(self), 256)] = self.colours[:256]
        if self.ignore <= 255:
            table[self.ignore] = (255, 255, 255)
        return table

    def lookup_from(self, other: LabelMap) -> tuple[np.ndarray, tuple[str, ...]]:
        """Translate ids of ``other`` into ids of this map, by name.

        Returns
        -------
        table
            An array with ``table[other_id] == own_id``; classes unknown here become ``ignore``.
        unmatched
            The names of ``other`` that have no match here.

        Examples
        --------
        >>> table, unmatched = LabelMap(("car", "road")).lookup_from(LabelMap(("road", "sky")))
        >>> int(table[0]), int(table[1]), unmatched
        (1, 255, ('sky',))
        """
        table = np.full(max(len(other), other.ignore) + 1, self.ignore, self.dtype)
        for position, name in enumerate(other.names):
            if name in self.names:
                table[position] = self.names.index(name)
        return table, tuple(name for name in other.names if name not in self.names)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description, the inverse of :meth:`from_dict`."""
        return {"names": list(self.names), "colours": [list(c) for c in self.colours], "ignore": self.ignore}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> LabelMap:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            tuple(description["names"]),
            tuple(tuple(c) for c in description.get("colours", ())),
            int(description.get("ignore", -1)),
        )


def default_colours(count: int) -> tuple[Colour, ...]:
    """Distinct colours: black for class 0, then hues a golden angle apart at alternating lightness."""
    colours: list[Colour] = [(0, 0, 0)]
    for position in range(1, count):
        hue = (position * 0.618034) % 1.0
        value, saturation = ((0.95, 0.75), (0.70, 0.90), (0.85, 0.50))[position % 3]
        r, g, b = colorsys.hsv_to_rgb(hue, saturation, value)
        colours.append((round(r * 255), round(g * 255), round(b * 255)))
    return tuple(colours[:count])


def as_label_map(labels: LabelMap | Sequence[str] | Mapping[str, Any]) -> LabelMap:
    """Accept a LabelMap, a list of names, or a dictionary as :meth:`LabelMap.to_dict` writes it."""
    if isinstance(labels, LabelMap):
        return labels
    if isinstance(labels, Mapping):
        return LabelMap.from_dict(labels)
    return LabelMap(tuple(labels))
