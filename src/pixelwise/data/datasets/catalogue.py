"""What is known about the field's public data sets: who made them, what they hold, where to ask for them.

Every data set has a file of its own in this folder; it describes itself with one :class:`PublicDataset`
called ``INFO`` and reads its layout. Nothing here is ever downloaded: ``obtain`` says where to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pixelwise.errors import UsageError, unknown_name
from pixelwise.labels import LabelMap


@dataclass(frozen=True)
class PublicDataset:
    """One data set of the field, as its authors describe it.

    Attributes
    ----------
    name
        What ``pw.read(..., format=name)`` and ``pixelwise datasets NAME`` call it.
    title
        Its full name.
    source
        Authors, title, venue and year of the publication.
    task
        What a sample is.
    classes
        The label maps that people use, by the value of the reader's ``classes`` option; the first is the
        default.
    splits
        Numbers of samples of a complete copy by split; a split whose labels are held back counts its images.
    size
        The samples' size in words, such as ``2048x1024``.
    licence
        What may be done with it.
    obtain
        Where to ask for the data, and what to unpack.
    layout
        The folder tree that is read, one line each.
    folders
        What a complete copy has, relative to its root; of the alternatives in one entry one is enough.
    shares
        Fraction of all pixels, ignored ones included, by class name, where it has been counted.
    weights
        Published class weights by class name.
    notes
        Traps, one sentence each.
    """

    name: str
    title: str
    source: str
    task: Literal["image", "video", "volume", "cloud"]
    classes: Mapping[str, LabelMap]
    splits: Mapping[str, int]
    size: str
    licence: str
    obtain: str
    layout: tuple[str, ...]
    folders: tuple[tuple[str, ...], ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> LabelMap:
        """The default classes."""
        return next(iter(self.classes.values()))

    def choose(self, classes: str) -> LabelMap:
        """The label map of a value of the ``classes`` option; an unknown one raises UsageError."""
        if not isinstance(classes, str):
            first = next(iter(self.classes))
            raise UsageError(f"classes of {self.name} is a text such as '{first}', found {classes!r}")
        if classes not in self.classes:
            raise unknown_name(f"classes of {self.name}", classes, self.classes)
        return self.classes[classes]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        plain = {
            key: dict(value) if isinstance(value, Mapping) else value for key, value in vars(self).items()
        }
        return plain | {
            "classes": {name: labels.to_dict() for name, labels in self.classes.items()},
            "layout": list(self.layout),
            "folders": [list(alternatives) for alternatives in self.folders],
            "notes": list(self.notes),
        }


def voc_colours(ids: int) -> tuple[tuple[int, int, int], ...]:
    """The colours of PASCAL VOC for the ids 0 to ``ids - 1``: the id's bits, spread over three channels.

    >>> voc_colours(4)
    ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    """

    def colour(number: int) -> tuple[int, int, int]:
        rgb = [0, 0, 0]
        for place in range(8):
            for channel in range(3):
                rgb[channel] |= (number >> (3 * place + channel) & 1) << (7 - place)
        return rgb[0], rgb[1], rgb[2]

    return tuple(map(colour, range(ids)))


def names_in(text: str) -> tuple[str, ...]:
    """Names separated by commas, over as many lines as it takes.

    >>> names_in("road, traffic light")
    ('road', 'traffic light')
    """
    return tuple(name.strip() for name in text.split(","))


def colours_in(text: str) -> tuple[tuple[int, int, int], ...]:
    """Colours as hexadecimal RRGGBB, separated by blanks.

    >>> colours_in("ff0000 0000ff")
    ((255, 0, 0), (0, 0, 255))
    """
    return tuple((code[0], code[1], code[2]) for code in map(bytes.fromhex, text.split()))
