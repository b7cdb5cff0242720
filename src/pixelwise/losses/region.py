"""What losses over regions share: they judge each class as one region, then average over classes.

By default a class is judged over all pixels of the batch together, so that one which is missing from an
image costs nothing there. Libraries differ most on which classes enter the mean; the rule here:

- Where classes exclude each other (softmax), those with true valid pixels in the batch.
- Where a channel is a sigmoid of its own (K = 1, or multilabel), every channel with a valid pixel: an empty
  target is an answer there, and finding something where nothing is must cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from pixelwise.errors import UsageError, unknown_name
from pixelwise.losses.base import Loss, divide, pixel_importance

_LEAST_SCORE = 1e-7  # below it the logarithm is cut off


class RegionOptions(TypedDict, total=False):
    """The options of every loss over regions; :class:`RegionLoss` explains them."""

    ignore_index: int
    multilabel: bool
    class_weights: Sequence[float] | None
    classes: Sequence[int] | None
    average: str | None
    per_image: bool


class RegionLoss(Loss):
    """A cost per class, averaged over classes; a subclass defines :meth:`costs`.

    Parameters
    ----------
    ignore_index
        The target id that counts nowhere; may lie inside 0..K-1.
    multilabel
        K independent sigmoids against a B×K×H×W target of 0 and 1.
    class_weights
        K numbers that weigh the classes in their mean (divided by the sum of those that enter it). For K = 1
        two (background, foreground), as in other losses, and without effect: only the foreground is a region.
    classes
        Judge only these class ids (channels).
    average
        ``"present"``: classes with true pixels enter the mean. ``"all"``: every class, as soon as there is a
        valid pixel. None is ``"present"`` for softmax and ``"all"`` for sigmoids.
    per_image
        Judge each image by itself and average over the images, not the batch as a whole. An image in which no
        class enters the mean leaves it.

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
        average: str | None = None,
        per_image: bool = False,
    ) -> None:
        super().__init__(ignore_index, multilabel, class_weights)
        if average not in (None, "present", "all"):
            raise unknown_name("average", str(average), ["present", "all"])
        if classes is not None and (not len(classes) or min(classes) < 0):
            raise UsageError(f"classes must be a list of class ids from 0 up, not {classes}")
        self.classes = None if classes is None else sorted(set(classes))
        self.average = average
        self.per_image = per_image

    def compute(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:  # noqa: D102
        positive, valid = self.one_vs_rest(logits, target)
        importance = pixel_importance(logits, valid, weight)
        class_weights = self.weights_of_classes(logits) if logits.shape[1] > 1 else None
        scores = self.scores(logits, positive)
        if self.classes is not None:
            if self.classes[-1] >= logits.shape[1]:
                raise UsageError(f"classes {self.classes} do not fit logits with {logits.shape[1]} channels")
            scores, positive = scores[:, self.classes], positive[:, self.classes]
            importance = importance[:, self.classes] if self.multilabel else importance
            class_weights = class_weights[self.classes] if class_weights is not None else None
        true = self.pool(positive * importance)
        only_present = (self.average or ("present" if self.is_softmax(logits) else "all")) == "present"
        counted = ((true if only_present else self.pool(importance)) > 0).expand_as(true)
        costs = self.costs(scores, positive, importance, true, counted)

        shares = counted.to(costs) if class_weights is None else counted * class_weights
        rows = divide((costs * shares).sum(dim=1), shares.sum(dim=1))
        return divide(rows.sum(), (shares.sum(dim=1) > 0).to(rows).sum())

    def scores(self, logits: Tensor, positive: Tensor) -> Tensor:
        """What is pooled, B×K×H×W: the probabilities."""
        return self.probabilities(logits)

    def costs(
        self, scores: Tensor, positive: Tensor, importance: Tensor, true: Tensor, counted: Tensor
    ) -> Tensor:
        """The cost of each region, R×K: R is 1, or B when ``per_image``.

        Parameters
        ----------
        scores
            B×K×H×W float, what :meth:`scores` gives.
        positive
            B×K×H×W boolean, the true pixels.
        importance
            B×1×H×W or B×K×H×W float, 0 where ignored.
        true
            R×K, the importance of all true pixels.
        counted
            R×K boolean: which costs enter the mean; the others may be anything finite.
        """
        raise NotImplementedError

    def pool(self, each: Tensor) -> Tensor:
        """B×K×H×W summed to R×K."""
        sums = each.flatten(2).sum(dim=2)
        return sums if self.per_image else sums.sum(dim=0, keepdim=True)


class OverlapOptions(RegionOptions, total=False):
    """The options of losses that are one minus an overlap; :class:`OverlapLoss` explains them."""

    smooth: float
    log: bool


class OverlapLoss(RegionLoss):
    """One minus a soft overlap, a fraction; a subclass defines :meth:`fraction`.

    A region that is neither there nor predicted overlaps fully and costs 0. One that is predicted and not
    there costs 1, whatever its probability: it takes ``smooth`` above 0 to give that cost a slope.

    Parameters
    ----------
    smooth
        Added to numerator and denominator: so many pixels more that are right.
    log
        The cost is minus the logarithm of the overlap (not below 1e-7), not one minus it.
    options
        Those of every region loss: ``ignore_index``, ``multilabel``, ``class_weights``, ``classes``,
        ``average``, ``per_image``.
    """

    squared = False

    def __init__(self, smooth: float = 0.0, log: bool = False, **options: Unpack[RegionOptions]) -> None:
        super().__init__(**options)
        if not smooth >= 0:
            raise UsageError(f"smooth must be 0 or more, not {smooth}")
        self.smooth = smooth
        self.log = log

    def costs(  # noqa: D102
        self, scores: Tensor, positive: Tensor, importance: Tensor, true: Tensor, counted: Tensor
    ) -> Tensor:
        weighted = scores * importance
        overlap = self.pool(weighted.where(positive, 0))
        predicted = self.pool(scores.square() * importance if self.squared else weighted)
        numerator, denominator = self.fraction(overlap, predicted, true)
        nothing = (denominator + self.smooth == 0).to(numerator)  # 0 / 0 is full overlap
        return self.cost((numerator + self.smooth + nothing) / (denominator + self.smooth + nothing))

    def fraction(self, overlap: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """Numerator and denominator of the overlap, from three sums over pixels, each R×K.

        These are the probabilities at true pixels, all probabilities, and the number of true pixels.
        """
        raise NotImplementedError

    def cost(self, overlap: Tensor) -> Tensor:
        """What an overlap between 0 and 1 costs."""
        return -torch.log(overlap.clamp(min=_LEAST_SCORE)) if self.log else 1 - overlap
