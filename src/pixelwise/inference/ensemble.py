"""Several models as one: the mean of their probabilities, at the size of the image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from pixelwise.errors import UsageError
from pixelwise.inference.engines import Engine
from pixelwise.inference.probabilities import ProbabilityMean
from pixelwise.inference.segmenter import Predictor, Segmentation, Segmenter, Source, segmentation_from
from pixelwise.labels import LabelMap


class Ensemble(Predictor):
    """Models of the same classes that label images together; used as one :class:`Segmenter` is.

    Each member looks at an image at its own working size, with its own tiles and views. The means are kept at
    the image's size, K planes of floats, so images of hundreds of megapixels are for single models.

    Parameters
    ----------
    members
        The models. Classes are joined by name; ids and colours are the first one's.

    Raises
    ------
    UsageError
        There is no member, one labels volumes, or they differ in their classes, kind of head or channels.
    """

    def __init__(self, members: Sequence[Segmenter]) -> None:
        if not members:
            raise UsageError("an ensemble needs at least one model, found none")
        self.members = tuple(members)
        for member in members:
            _check(member, members[0])
        self._orders = [[m.labels.index(name) for name in self.labels.names] for m in members]

    @property
    def labels(self) -> LabelMap:
        """The classes, as the first member orders them."""
        return self.members[0].labels

    @property
    def name(self) -> str:
        """The members' names, joined by ``+``."""
        return " + ".join(member.name for member in self.members)

    @property
    def task(self) -> str:
        """Always ``image``."""
        return "image"

    @property
    def identity(self) -> str:
        """A sha256 over the members' identities, in their order."""
        return hashlib.sha256("".join(member.identity for member in self.members).encode()).hexdigest()

    @property
    def engine(self) -> Engine:
        """The first member's; all have been made by the same rules."""
        return self.members[0].engine

    @property
    def settings(self) -> dict[str, Any]:
        """Those of all members; see :attr:`Segmenter.settings`."""
        return {"members": [member.settings for member in self.members]}

    def predict(self, image: Source, probabilities: bool = False, tta: str | None = None) -> Segmentation:
        """Label every pixel of one image; see :meth:`Segmenter.predict`."""
        pixels, head = self.pixels(image), self.members[0].bundle.manifest.head
        mean = ProbabilityMean(head)
        for member, order in zip(self.members, self._orders, strict=True):
            logits = member.logits(pixels, tta)
            if head == "binary":  # one plane that tells class 1 from class 0
                mean.add(logits if order == sorted(order) else -logits)
            else:
                mean.add(logits[order])
        return segmentation_from(mean.logits(), head, self.labels, pixels, probabilities)

    def pixels(self, image: Source) -> np.ndarray:
        """The H×W×C uint8 array that :meth:`predict` works on, from an array or an image file."""
        return self.members[0].pixels(image)


def _check(member: Segmenter, first: Segmenter) -> None:
    """Raise UsageError unless ``member`` can be averaged with ``first``."""
    if member.task != "image":
        raise UsageError(f"'{member.name}' labels volumes; an ensemble is for models of images")
    ours, others = set(first.labels.names), set(member.labels.names)
    if ours != others:
        only = [
            f"only '{model.name}' has {', '.join(sorted(names))}"
            for model, names in ((first, ours - others), (member, others - ours))
            if names
        ]
        raise UsageError(
            f"'{first.name}' and '{member.name}' have different classes ({'; '.join(only)}); "
            "an ensemble needs models of the same classes"
        )
    for what in ("head", "in_channels"):
        one, other = (getattr(model.bundle.manifest, what) for model in (first, member))
        if one != other:
            kind = "head" if what == "head" else "number of channels"
            raise UsageError(
                f"'{first.name}' has the {kind} {one}, but '{member.name}' has {other}; "
                "an ensemble needs models of the same kind"
            )
