"""Soft intersection over union, also called soft Jaccard.

Source: Rahman and Wang, "Optimizing intersection-over-union in deep neural networks for image segmentation",
ISVC 2016. The paper has one foreground; here each class is one, and their mean is taken.
"""

from __future__ import annotations

from torch import Tensor

from pixelwise.losses.region import OverlapLoss


class IoU(OverlapLoss):
    """One minus ``(Σ p y + smooth) / (Σ p + Σ y - Σ p y + smooth)`` of each class.

    Called with B×K×H×W (or B×K×D×H×W) logits and B×H×W class ids. Where classes exclude each other, a class
    without true pixels in the batch leaves the mean; an empty target of a sigmoid costs 1 if anything is
    predicted, however faintly, and 0 if nothing is.

    Parameters
    ----------
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
    >>> IoU()(torch.zeros(1, 1, 1, 4), target)  # 1 - 1 / (1.5 + 2 - 1)
    tensor(0.6000)
    """

    def fraction(self, overlap: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        return overlap, predicted + true - overlap
