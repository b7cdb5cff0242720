"""Soft Dice loss.

Source: Milletari, Navab and Ahmadi, "V-Net: fully convolutional neural networks for volumetric medical image
segmentation", 3DV 2016, arXiv 1606.04797. The paper squares the probabilities in the denominator
(``squared=True``); most later work does not, and neither does the default here.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from pixelwise.losses.region import OverlapLoss, OverlapOptions


class Dice(OverlapLoss):
    """One minus the Dice coefficient ``(Σ p y + smooth) / ((Σ p + Σ y) / 2 + smooth)`` of each class.

    Called with B×K×H×W (or B×K×D×H×W) logits and B×H×W class ids. Where classes exclude each other, a class
    without true pixels in the batch leaves the mean; an empty target of a sigmoid costs 1 if anything is
    predicted, however faintly, and 0 if nothing is.

    Parameters
    ----------
    squared
        Sum ``p²`` in place of ``p`` in the denominator, as V-Net does.
    options
        Those of :class:`~pixelwise.losses.region.OverlapLoss`: ``smooth``, ``log``, ``class_weights``,
        ``classes``, ``average``, ``per_image``, ``ignore_index``, ``multilabel``.

    Raises
    ------
    UsageError
        An option is outside its range or does not fit the logits.

    Examples
    --------
    >>> import torch
    >>> target = torch.tensor([[[1, 1, 0, 255]]])
    >>> Dice()(torch.zeros(1, 1, 1, 4), target)  # 1 - 2 * 1 / (1.5 + 2)
    tensor(0.4286)
    """

    def __init__(self, squared: bool = False, **options: Unpack[OverlapOptions]) -> None:
        super().__init__(**options)
        self.squared = squared

    def fraction(self, overlap: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        return overlap, (predicted + true) / 2
