"""The eleven classes of the synthetic street, and which of them are countable."""

from __future__ import annotations

from pixelwise.labels import LabelMap

STREET_LABELS = LabelMap(
    (
        "road",
        "lane marking",
        "pavement",
        "building",
        "sky",
        "tree",
        "pole",
        "sign",
        "car",
        "person",
        "cyclist",
    ),
    (
        (128, 64, 128),
        (250, 236, 196),
        (244, 35, 232),
        (96, 92, 104),
        (70, 150, 210),
        (107, 142, 35),
        (190, 160, 130),
        (250, 190, 20),
        (20, 40, 170),
        (220, 20, 60),
        (0, 190, 170),
    ),
)
"""Names and colours of the street's classes; the colours are close to those of Cityscapes."""

ROAD, MARKING, PAVEMENT, BUILDING, SKY, TREE, POLE, SIGN, CAR, PERSON, CYCLIST = range(len(STREET_LABELS))

THINGS = (POLE, SIGN, CAR, PERSON, CYCLIST)
"""Countable classes: their pixels carry an instance id."""
