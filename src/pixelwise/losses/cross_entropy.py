"""Cross-entropy over pixels: softmax over K classes, or a sigmoid for one class and for multilabel targets.

The value is a weighted mean: every valid pixel counts with its class weight times its pixel weight, and the
sum is divided by the sum of those weights (torch's rule, not the number of pixels). Where torch gives nan,
for a batch with no valid pixel, this gives 0.

Mining of hard pixels follows Shrivastava et al., "Training region-based object detectors with online hard
example mining", CVPR 2016, arXiv 1604.03540, with pixels in the place of boxes: of each batch only the pixels
that the network gets wrong, or nearly, are counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelwise.errors import UsageError
from pixelwise.losses.base import Loss, divide, pixel_importance


class CrossEntropy(Loss):
    """Cross-entropy of B×K×H×W logits: the weighted mean of -log p(true class) over the valid pixels.

    A class without pixels contributes nothing; of K sigmoids each counts at every valid pixel.

    Parameters
    ----------
    ignore_index
        The target id that counts nowhere; may lie inside 0..K-1.
    class_weights
        One weight per class: K of them, or 2 (background, foreground) when K is 1.
    label_smoothing
        Share of every target spread evenly over the classes, 0..1.
    multilabel
        K independent sigmoids against a B×K×H×W target of 0 and 1.
    hard_threshold
        Count only pixels whose probability of the true class is below this (0.7 is usual), 0..1.
    hard_minimum
        The hardest pixels of the batch that count in any case: a share of the valid ones when below 1, else
        a number. Alone, without ``hard_threshold``, only these count.

    Raises
    ------
    UsageError
        A value is outside its range, or the number of class weights does not fit the logits.

    Examples
    --------
    >>> logits = torch.tensor([[[[0.0, 9.0, 2.0]], [[0.0, -9.0, 0.0]]]])
    >>> target = torch.tensor([[[0, 255, 0]]])
    >>> CrossEntropy()(logits, target)
    tensor(0.4100)
    >>> CrossEntropy(hard_threshold=0.7)(logits, target)
    tensor(0.6931)
    """

    def __init__(
        self,
        ignore_index: int = 255,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        multilabel: bool = False,
        hard_threshold: float | None = None,
        hard_minimum: float = 0,
    ) -> None:
        super().__init__(ignore_index, multilabel, class_weights)
        for name, value in (("label_smoothing", label_smoothing), ("hard_threshold", hard_threshold or 0.0)):
            if not 0.0 <= value <= 1.0:
                raise UsageError(f"{name} must be between 0 and 1, not {value}")
        if not (0 <= hard_minimum < 1 or hard_minimum == int(hard_minimum) >= 1):
            raise UsageError(
                f"hard_minimum must be a share from 0 up to 1 or a whole number of pixels, not {hard_minimum}"
            )
        self.label_smoothing = label_smoothing
        self.hard_threshold = hard_threshold
        self.hard_minimum = hard_minimum

    def compute(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:  # noqa: D102
        loss = self._softmax if self.is_softmax(logits) else self._sigmoid
        return loss(logits, target, weight)

    def _softmax(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        class_weights = self.weights_of_classes(logits)
        valid = self.valid(target)
        counted = self._counted(logits, target, valid, weight)
        whole = weight is None and counted is valid
        losses = F.cross_entropy(
            logits,
            target,
            class_weights,
            ignore_index=self.ignore_index,
            reduction="sum" if whole else "none",
            label_smoothing=self.label_smoothing,
        )
        if whole and class_weights is None:
            return losses / valid.sum().clamp(min=1)
        importance = pixel_importance(logits, counted.unsqueeze(1), weight).squeeze(1)
        total = losses if whole else (losses * importance).sum()
        if class_weights is not None:
            importance = class_weights[target.where(valid, 0)] * importance
        return divide(total, importance.sum())

    def _sigmoid(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        positive, valid = self.one_vs_rest(logits, target)
        counted = self._counted(logits, positive, valid, None if weight is None else weight.unsqueeze(1))
        importance = pixel_importance(logits, counted, weight)
        class_weights = self.weights_of_entries(logits, positive)
        if class_weights is not None:
            importance = importance * class_weights
        soft = positive.to(logits) * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, soft, importance, reduction="sum")
        return divide(losses, importance.sum())

    @torch.no_grad()
    def _counted(self, logits: Tensor, truth: Tensor, valid: Tensor, weight: Tensor | None) -> Tensor:
        """Boolean like ``valid``, the entries that count: all, or the hard ones where these are mined.

        ``truth`` holds class ids for a softmax, positives for sigmoids.
        """
        if self.hard_threshold is None and not self.hard_minimum:
            return valid
        if weight is not None:
            valid = valid & (weight > 0)
        if self.is_softmax(logits):
            probability = F.cross_entropy(logits, truth, ignore_index=self.ignore_index, reduction="none")
            probability = probability.neg().exp()
        else:
            probability = logits.where(truth, -logits).sigmoid()
        probability = probability.where(valid, torch.inf)
        hard = probability < (self.hard_threshold or 0.0)
        if self.hard_minimum:
            many = valid.sum()
            share = self.hard_minimum if self.hard_minimum < 1 else None
            wanted = (many * share).ceil().long() if share else many.clamp(max=int(self.hard_minimum))
            # gather, because indexing by a tensor would wait for the device
            last = probability.flatten().sort().values.gather(0, (wanted - 1).clamp(min=0).view(1))
            hard |= probability <= last
        return hard & valid
