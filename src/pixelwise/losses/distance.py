"""What losses over distances share: each class of each image is a region with an outline in the target.

Distances are to pixel centres and exact, computed on the CPU from detached arrays; no gradient runs through
them. They are taken among valid pixels: an ignored pixel belongs to neither side of an outline, so that it
makes none, and counts nowhere.

The value is one weighted mean over the pixels of all regions that have an outline. A class that is absent
from an image's target, or fills it, has none there and contributes nothing, neither a cost nor a count:
what is predicted for it costs nothing. Use these losses beside one that sees every pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from pixelwise.errors import UsageError
from pixelwise.kernels.distance import signed_distances
from pixelwise.losses.base import Loss, divide, pixel_importance


class DistanceOptions(TypedDict, total=False):
    """The options of every loss over distances; :class:`DistanceLoss` explains them."""

    ignore_index: int
    multilabel: bool
    class_weights: Sequence[float] | None
    classes: Sequence[int] | None
    spacing: Sequence[float] | None


class DistanceLoss(Loss):
    """The mean cost of the pixels of every region with an outline; a subclass defines :meth:`costs`.

    Parameters
    ----------
    ignore_index
        The target id that counts nowhere; may lie inside 0..K-1.
    multilabel
        K independent sigmoids against a B×K×H×W target of 0 and 1.
    class_weights
        K numbers: how much the pixels of each class's regions count. For K = 1 two (background, foreground),
        as in other losses, and without effect: only the foreground is a region.
    classes
        Only the regions of these class ids (channels).
    spacing
        Side lengths of a pixel or voxel, as (height, width) or (depth, height, width); 1 when None.

    Raises
    ------
    UsageError
        An option is outside its range or does not fit the logits.
    """

    def __init__(
        self,
        ignore_index: int = 255,
        multilabel: bool = False,
        class_weights: Sequence[float] | None = None,
        classes: Sequence[int] | None = None,
        spacing: Sequence[float] | None = None,
    ) -> None:
        super().__init__(ignore_index, multilabel, class_weights)
        if classes is not None and (not len(classes) or min(classes) < 0):
            raise UsageError(f"classes must be a list of class ids from 0 up, not {classes}")
        if spacing is not None and not (
            len(spacing) in (2, 3) and all(0 < side < torch.inf for side in spacing)
        ):
            raise UsageError(f"spacing must be 2 or 3 positive lengths, not {spacing}")
        self.classes = None if classes is None else sorted(set(classes))
        self.spacing = spacing

    def compute(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:  # noqa: D102
        self._check_options(logits)
        positive, valid = self.one_vs_rest(logits, target)
        outlined = positive.flatten(2).any(dim=2) & (valid & ~positive).flatten(2).any(dim=2)
        if self.classes is not None:
            outside = [k for k in range(logits.shape[1]) if k not in self.classes]
            outlined[:, outside] = False

        # From here on N×H×W, the regions in one row: of many classes, an image holds a few.
        importance = pixel_importance(logits, valid, weight).expand_as(positive)[outlined]
        valid, positive = valid.expand_as(positive)[outlined], positive[outlined]
        class_weights = self.weights_of_classes(logits) if logits.shape[1] > 1 else None
        if class_weights is not None:
            shares = class_weights[outlined.nonzero()[:, 1]]
            importance = importance * shares.view(-1, *(1 for _ in logits.shape[2:]))
        costs = self.costs(self.probabilities(logits)[outlined], positive, valid)
        return divide((costs * importance).sum(), importance.sum())

    def costs(self, probabilities: Tensor, positive: Tensor, valid: Tensor) -> Tensor:
        """The cost of each pixel of N regions.

        Parameters
        ----------
        probabilities
            N×H×W (or N×D×H×W) float.
        positive
            The same shape, boolean: the true pixels.
        valid
            The same shape, boolean: False where ignored; the cost there may be anything finite.
        """
        raise NotImplementedError

    def distances(self, regions: Tensor, valid: Tensor, like: Tensor) -> Tensor:
        """Distances to the outlines of N boolean regions, negative inside, with type and device of ``like``.

        See :func:`~pixelwise.kernels.distance.signed_distances`; 0 where there is no outline.
        """
        found = signed_distances(regions.cpu().numpy(), valid.cpu().numpy(), self.spacing)
        return torch.from_numpy(found).to(like)

    def _check_options(self, logits: Tensor) -> None:
        axes = logits.ndim - 2
        if self.spacing is not None and len(self.spacing) != axes:
            raise UsageError(f"a spacing of {len(self.spacing)} lengths does not fit logits with {axes} axes")
        if self.classes is not None and self.classes[-1] >= logits.shape[1]:
            raise UsageError(f"classes {self.classes} do not fit logits with {logits.shape[1]} channels")
