"""Tversky loss: an overlap in which missing a pixel and inventing one have different prices.

Source: Salehi, Erdogmus and Gholipour, "Tversky loss function for image segmentation using 3D fully
convolutional deep networks", MLMI 2017, arXiv 1706.05721. Its focal form: Abraham and Khan, "A novel focal
Tversky loss function with improved attention U-Net for lesion segmentation", ISBI 2019, arXiv 1810.07842.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from pixelwise.errors import UsageError
from pixelwise.losses.region import OverlapLoss, OverlapOptions


class Tversky(OverlapLoss):
    """``(1 - T)^gamma`` with ``T = (TP + smooth) / (TP + alpha FP + beta FN + smooth)`` of each class.

    ``TP = Σ p y``, ``FP = Σ p (1 - y)``, ``FN = Σ (1 - p) y``. With alpha = beta = 0.5 it is the Dice loss,
    with 1 and 1 soft IoU. Called with B×K×H×W (or B×K×D×H×W) logits and B×H×W class ids. Where classes
    exclude each other, a class without true pixels in the batch leaves the mean; an empty target of a sigmoid
    costs 1 if anything is predicted, however faintly, and 0 if nothing is.

    Parameters
    ----------
    alpha, beta
        The price of false positives and of false negatives. 0.3 and 0.7, which favour recall, did best in
        Salehi et al.
    gamma
        The exponent itself: the focal Tversky loss. Abraham and Khan write ``1 / gamma`` and recommend 4/3,
        which is ``gamma=0.75`` here.
    options
        Those of :class:`~pixelwise.losses.region.OverlapLoss`: ``smooth``, ``log``, ``class_weights``,
        ``classes``, ``average``, ``per_image``, ``ignore_index``, ``multilabel``.

    Raises
    ------
    UsageError
        An option is outside its range or does not fit the logits, or ``gamma`` comes with ``log``.

    Examples
    --------
    >>> import torch
    >>> target = torch.tensor([[[1, 1, 0, 255]]])
    >>> Tversky(alpha=0.3, beta=0.7)(torch.zeros(1, 1, 1, 4), target)  # 1 - 1 / (1 + 0.3 * 0.5 + 0.7 * 1)
    tensor(0.4595)
    """

    def __init__(
        self, alpha: float = 0.3, beta: float = 0.7, gamma: float = 1.0, **options: Unpack[OverlapOptions]
    ) -> None:
        super().__init__(**options)
        if not (alpha >= 0 and beta >= 0 and alpha + beta > 0):
            raise UsageError(
                f"alpha and beta must be 0 or more, and one of them more, not {alpha} and {beta}"
            )
        if not gamma > 0:
            raise UsageError(f"gamma of the Tversky loss must be above 0, not {gamma}")
        if self.log and gamma != 1:
            raise UsageError("the Tversky loss takes either gamma or log=True, not both")
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma

    def fraction(self, overlap: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        wrong = self.alpha * (predicted - overlap) + self.beta * (true - overlap)
        return overlap, overlap + wrong

    def cost(self, overlap: Tensor) -> Tensor:  # noqa: D102
        cost = super().cost(overlap)
        if self.gamma == 1:
            return cost
        some = cost > 0  # at 0 the slope of an exponent below 1 is infinite
        return cost.where(some, 1).pow(self.gamma).where(some, 0)
