"""Focal loss: cross-entropy that looks away from what is already right.

Source: Lin et al., "Focal loss for dense object detection", ICCV 2017, arXiv 1708.02002. The paper has one
sigmoid; for classes that exclude each other this takes the softmax's probability of the true class in its
place. Other libraries mean K sigmoids, one against the rest, by "multi-class focal": ``one_vs_rest=True``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelwise.errors import UsageError
from pixelwise.losses.base import Loss, divide, pixel_importance


class Focal(Loss):
    """Focal loss of B×K×H×W logits: the mean over valid pixels of ``-alpha (1 - p)^gamma log p``.

    ``p`` is the probability of the true class under the softmax; with one channel, ``multilabel`` or
    ``one_vs_rest`` it is the probability of being right (positive or not) of each sigmoid, and the mean is
    over valid pixels and channels. ``alpha`` and ``class_weights`` multiply the terms and, unlike in
    cross-entropy, do not enter the divisor. A class without pixels contributes nothing to the softmax form;
    a sigmoid counts at every valid pixel.

    Parameters
    ----------
    ignore_index
        The target id that counts nowhere; may lie inside 0..K-1.
    gamma
        How much easy pixels are played down, from 0 (cross-entropy) up.
    alpha
        Sigmoids: the weight of positives, 0..1, that of negatives being ``1 - alpha``; one number or K.
        Softmax: K weights, one per true class. None weighs all alike.
    class_weights
        One weight per class: K of them, or 2 (background, foreground) when K is 1.
    one_vs_rest
        Judge classes that exclude each other by K sigmoids, not by the softmax.
    multilabel
        K independent sigmoids against a B×K×H×W target of 0 and 1.

    Raises
    ------
    UsageError
        ``gamma`` is negative, or ``alpha`` or ``class_weights`` do not fit.

    Examples
    --------
    >>> loss = Focal(gamma=2)
    >>> loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))  # log(2) / 4
    tensor(0.1733)
    """

    alpha: Tensor | None

    def __init__(
        self,
        ignore_index: int = 255,
        gamma: float = 2.0,
        alpha: float | Sequence[float] | None = None,
        class_weights: Sequence[float] | None = None,
        one_vs_rest: bool = False,
        multilabel: bool = False,
    ) -> None:
        super().__init__(ignore_index, multilabel, class_weights)
        if not gamma >= 0:
            raise UsageError(f"gamma of the focal loss must be 0 or more, not {gamma}")
        balance = None if alpha is None else torch.as_tensor(alpha, dtype=torch.float32)
        if balance is not None and not (balance >= 0).all():
            raise UsageError(f"alpha of the focal loss must not be negative, and it is {alpha}")
        self.gamma = gamma
        self.sigmoids = one_vs_rest
        self.register_buffer("alpha", balance, persistent=False)

    def compute(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:  # noqa: D102
        loss = self._softmax if self.is_softmax(logits) and not self.sigmoids else self._sigmoid
        return loss(logits, target, weight)

    def _softmax(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        valid = self.valid(target)
        losses = F.cross_entropy(logits, target, ignore_index=self.ignore_index, reduction="none")
        # 1 - p without cancellation; above 0, where a gamma below 1 has no slope
        rest = (-(-losses).expm1()).clamp(min=torch.finfo(logits.dtype).tiny)
        losses = losses * rest.pow(self.gamma)
        for factors in (self._softmax_alpha(logits), self.weights_of_classes(logits)):
            if factors is not None:
                losses = losses * factors[target.where(valid, 0)]
        importance = pixel_importance(logits, valid.unsqueeze(1), weight).squeeze(1)
        return divide((losses * importance).sum(), importance.sum())

    def _sigmoid(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        positive, valid = self.one_vs_rest(logits, target)
        losses = sigmoid_focal(logits, positive, self.gamma, self._sigmoid_alpha(logits))
        class_weights = self.weights_of_entries(logits, positive)
        if class_weights is not None:
            losses = losses * class_weights
        importance = pixel_importance(logits, valid, weight).expand_as(losses)
        return divide((losses * importance).sum(), importance.sum())

    def _softmax_alpha(self, logits: Tensor) -> Tensor | None:
        if self.alpha is None:
            return None
        if self.alpha.shape != logits.shape[1:2]:
            raise UsageError(
                f"alpha must be {logits.shape[1]} numbers, one per class, where classes exclude each other; "
                "a single one balances positives against negatives, which needs one_vs_rest=True"
            )
        return self.alpha.to(logits)

    def _sigmoid_alpha(self, logits: Tensor) -> Tensor | None:
        if self.alpha is None:
            return None
        if self.alpha.numel() not in (1, logits.shape[1]) or not (self.alpha <= 1).all():
            raise UsageError(
                f"alpha of the focal loss must be a number between 0 and 1, or {logits.shape[1]} of them"
            )
        return self.alpha.to(logits).view(1, -1, *(1 for _ in logits.shape[2:]))


def sigmoid_focal(
    logits: Tensor, positive: Tensor, gamma: float = 2.0, alpha: float | Tensor | None = None
) -> Tensor:
    """The focal loss of each logit of a sigmoid, computed in logits: finite, with its gradient, for any.

    Parameters
    ----------
    logits
        Float, any shape.
    positive
        Boolean of the same shape: what is true.
    gamma
        How much easy ones are played down, from 0 up.
    alpha
        The weight of positives, that of negatives being ``1 - alpha``; None weighs both 1.

    Examples
    --------
    >>> sigmoid_focal(torch.tensor([0.0, 20.0]), torch.tensor([True, False]), alpha=0.25)
    tensor([ 0.0433, 15.0000])
    """
    right = logits.where(positive, -logits)
    log_p = F.logsigmoid(right)
    losses = -log_p * (gamma * (log_p - right)).exp()  # log(1 - p) is log(p) - right
    if alpha is None:
        return losses
    balance = torch.as_tensor(alpha).to(logits)
    return losses * balance.where(positive, 1 - balance)
