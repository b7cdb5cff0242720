"""U-Net's loss: cross-entropy that counts the narrow gaps between touching cells many times.

Source: Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015,
arXiv 1505.04597, equations 1 and 2.

Departure: the paper sums over pixels; here the sum is divided by the number of valid pixels, so that a value
means the same at any image size, and a border raises it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pixelwise.kernels.distance import border_weights
from pixelwise.losses.base import Loss
from pixelwise.losses.cross_entropy import CrossEntropy


class UNetWeighted(Loss):
    """The mean over valid pixels of ``(w_class + w_border) * -log p(true class)``.

    ``loss(logits, target, weight)`` takes the border map as its ``weight``, which is ADDED to the class's
    weight here; None is a map of zeros, as for an image with fewer than two instances. A training computes
    the map itself, with :func:`~pixelwise.kernels.distance.border_weights`, from the instances of each sample
    or, when it has none, from the connected parts of its classes. A class without pixels contributes nothing.

    Parameters
    ----------
    ignore_index
        The target id that counts nowhere; may lie inside 0..K-1.
    class_weights
        The class balance: K numbers, or 2 (background, foreground) when K is 1; all 1 when None.
    label_smoothing
        Share of every target spread evenly over the classes, 0..1.
    multilabel
        K independent sigmoids against a B×K×H×W target of 0 and 1; all get the same border map.
    w0, sigma
        Height and width (in pixels of the data) of the borders, for the maps that a training computes.

    Raises
    ------
    UsageError
        An option is out of range, or the number of class weights does not fit the logits.

    Examples
    --------
    >>> logits, target = torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]])
    >>> UNetWeighted()(logits, target)
    tensor(0.6931)
    >>> UNetWeighted()(logits, target, torch.tensor([[[4.0, 0.0]]]))  # (5 + 1) / 2 times as much
    tensor(2.0794)
    """

    def __init__(
        self,
        ignore_index: int = 255,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        multilabel: bool = False,
        w0: float = 10.0,
        sigma: float = 5.0,
    ) -> None:
        super().__init__(ignore_index, multilabel, class_weights)
        self.cross_entropy = CrossEntropy(ignore_index, label_smoothing=label_smoothing)
        border_weights(np.zeros((1, 1), int), w0, sigma)  # says at once when they are out of range
        self.needs = {"border": {"w0": w0, "sigma": sigma}}

    def compute(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:  # noqa: D102
        valid = self.valid(target if self.multilabel else target.unsqueeze(1))
        importance = self._balance(logits, target)
        if weight is not None:
            importance = importance + weight.to(logits).unsqueeze(1)
        importance = importance.expand(valid.shape).where(valid, 0)
        if self.multilabel:  # K sigmoids are one sigmoid on K times as many images
            logits, target = logits.flatten(0, 1).unsqueeze(1), target.flatten(0, 1)
        weighted_mean = self.cross_entropy.compute(logits, target, importance.flatten(0, 1))
        return weighted_mean * (importance.sum() / valid.sum().clamp(min=1))

    def _balance(self, logits: Tensor, target: Tensor) -> Tensor:
        """The class weight of each pixel, in a shape that broadcasts to B×1×H×W, or B×K×H×W if multilabel."""
        weights = self.weights_of_classes(logits)
        if weights is None:
            return torch.ones((), dtype=logits.dtype, device=logits.device)
        if self.multilabel:
            return weights.view(1, -1, *(1 for _ in logits.shape[2:]))
        return weights[target.where(self.valid(target), 0)].unsqueeze(1)
