"""The formats of annotation tools, one module each; :data:`FORMATS` has them by name."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pixelwise.data.adapt import Holds
from pixelwise.data.annotations import AnnotatedImage, Document
from pixelwise.data.formats import (
    coco,
    coco_write,
    cvat,
    cvat_write,
    labelbox,
    labelme,
    masks,
    rectlabel,
    via,
    via_write,
    voc,
    yolo,
)
from pixelwise.labels import LabelMap


class Source(Protocol):
    """What a module must have to read a format. ``load`` may take options of its own, by keyword."""

    def recognise(self, root: Path) -> bool:
        """Whether a folder or file is of this kind; looks at names and at what a file begins with."""

    def load(self, root: Path) -> Document:
        """Everything that the files say; images are found, but not opened."""


class Target(Protocol):
    """What a module must have to write a format."""

    HOLDS: Holds
    """What it can hold; shapes are made to fit before they are written."""

    def tidy_name(self, name: str) -> str:
        """An image's relative name as the format can have it, such as without folders."""

    def image_path(self, image: AnnotatedImage) -> str:
        """Where an image belongs, relative to the folder that is written."""

    def save(self, document: Document, path: Path, labels: LabelMap) -> None:
        """Write the annotation files; every image is there already, at its ``path``."""


SOURCES: dict[str, Source] = {
    "labelme": labelme,
    "rectlabel": rectlabel,
    "cvat": cvat,
    "via": via,
    "coco": coco,
    "yolo": yolo,
    "labelbox": labelbox,
}
"""The formats that are read into a document, in the order in which they are asked to recognise a folder."""

TARGETS: dict[str, Target] = {
    "labelme": labelme,
    "rectlabel": rectlabel,
    "voc": voc,
    "coco": coco_write,
    "cvat": cvat_write,
    "via": via_write,
    "yolo": yolo,
    "labelbox": labelbox,
    "masks": masks,
}
"""The formats that can be written."""
