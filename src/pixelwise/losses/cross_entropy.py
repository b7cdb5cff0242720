"""Cross-entropy over pixels: softmax over K classes, or a sigmoid for one class and for multilabel targets.

The value is a weighted mean: every valid pixel counts with its class weight times its pixel weight, and the
sum is divided by the sum of those weights (torch's rule, not the number of pixels). Where torch gives nan,
for a batch with no valid pixel, this gives 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelwise.errors import UsageError
from pixelwise.losses.base import Loss


class CrossEntropy(Loss):
    """Cross-entropy of B×K×H×W logits.

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

    Raises
    ------
    UsageError
        ``label_smoothing`` is outside 0..1, or the number of class weights does not fit the logits.

    Examples
    --------
    >>> loss = CrossEntropy()
    >>> target = torch.tensor([[[0, 255]]])
    >>> loss(torch.tensor([[[[0.0, 9.0]], [[0.0, -9.0]]]]), target)
    tensor(0.6931)
    """

    class_weights: Tensor | None

    def __init__(
        self,
        ignore_index: int = 255,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        multilabel: bool = False,
    ) -> None:
        super().__init__(ignore_index, multilabel)
        if not 0.0 <= label_smoothing <= 1.0:
            raise UsageError(f"label_smoothing must be between 0 and 1, not {label_smoothing}")
        self.label_smoothing = label_smoothing
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def compute(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:  # noqa: D102
        binary = self.multilabel or logits.shape[1] == 1
        class_weights = self._class_weights(logits)
        if not binary:
            return self._softmax(logits, target, weight, class_weights)
        if not self.multilabel:
            target = target.unsqueeze(1)
        return self._sigmoid(logits, target, weight, class_weights)

    def _class_weights(self, logits: Tensor) -> Tensor | None:
        if self.class_weights is None:
            return None
        expected = 2 if logits.shape[1] == 1 and not self.multilabel else logits.shape[1]
        if len(self.class_weights) != expected:
            raise UsageError(
                f"{len(self.class_weights)} class weights do not fit logits with {logits.shape[1]} channels: "
                f"give {expected}"
            )
        return self.class_weights.to(logits)

    def _softmax(
        self, logits: Tensor, target: Tensor, weight: Tensor | None, class_weights: Tensor | None
    ) -> Tensor:
        losses = F.cross_entropy(
            logits,
            target,
            class_weights,
            ignore_index=self.ignore_index,
            reduction="sum" if weight is None else "none",
            label_smoothing=self.label_smoothing,
        )
        valid = self.valid(target)
        if weight is None and class_weights is None:
            return losses / valid.sum().clamp(min=1)
        importance = valid.to(logits)
        if class_weights is not None:
            importance = class_weights[target.where(valid, 0)] * importance
        if weight is None:
            return _divide(losses, importance.sum())
        weight = weight.to(logits).where(valid, 0)  # an ignored pixel's weight may be anything, nan too
        return _divide((losses * weight).sum(), (importance * weight).sum())

    def _sigmoid(
        self, logits: Tensor, target: Tensor, weight: Tensor | None, class_weights: Tensor | None
    ) -> Tensor:
        valid = self.valid(target)
        positive = (target == 1).to(logits)
        importance = valid.to(logits)
        if class_weights is not None:
            per_class = class_weights.view(1, -1, 1, 1)
            importance = importance * (per_class if self.multilabel else class_weights[positive.long()])
        if weight is not None:
            importance = importance * weight.to(logits).unsqueeze(1).where(valid, 0)
        soft = positive * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, soft, importance, reduction="sum")
        return _divide(losses, importance.sum())


def _divide(total: Tensor, importance: Tensor) -> Tensor:
    """``total / importance``, or 0 with gradient where nothing is important."""
    return total / importance.where(importance > 0, 1)
