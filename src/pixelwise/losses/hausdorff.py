"""Hausdorff loss by distance transforms: an error costs the more, the further it is from the outlines.

Source: Karimi and Salcudean, "Reducing the Hausdorff distance in medical image segmentation with
convolutional neural networks", IEEE TMI 2019, arXiv 1904.10030, equation 8 (two-sided) and 9 (one-sided).
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from pixelwise.errors import UsageError
from pixelwise.losses.distance import DistanceLoss, DistanceOptions


class Hausdorff(DistanceLoss):
    """The mean of ``(p - g)^2 * (d_p^alpha + d_g^alpha)`` over the pixels of each class.

    p is the probability, g the target (0 or 1), d_g the distance to the target's outline and d_p that to the
    outline of the prediction, which is where p exceeds 1/2; d_p is 0 when that is nowhere or everywhere. A
    class that is absent from an image, or fills it, contributes nothing there. Distances are in pixels (or
    the unit of ``spacing``), so values may be in the hundreds: the paper adds it to an overlap loss with a
    factor that makes both equally large.

    Parameters
    ----------
    alpha
        How much more a distant error costs. 2 is the paper's; towards infinity the largest distance alone
        would matter, as in the Hausdorff distance; 1 weighs an error by its distance, as in the average one.
    one_sided
        Leave out d_p, and with it the distance transforms of every prediction, which is quicker.
    options
        Those of every loss over distances: ``ignore_index``, ``multilabel``, ``class_weights``, ``classes``,
        ``spacing``.

    Raises
    ------
    UsageError
        ``alpha`` is not positive.

    Examples
    --------
    >>> import torch
    >>> target = torch.tensor([[[1, 0, 0, 0]]])
    >>> logits = torch.tensor([[[[20.0, -20.0, -20.0, 20.0]]]])
    >>> Hausdorff(one_sided=True)(logits, target)  # one wrong pixel of four, 3 pixels from the outline
    tensor(2.2500)
    """

    def __init__(
        self, alpha: float = 2.0, one_sided: bool = False, **options: Unpack[DistanceOptions]
    ) -> None:
        super().__init__(**options)
        if not 0 < alpha < float("inf"):
            raise UsageError(f"alpha must be positive, not {alpha}")
        self.alpha = alpha
        self.one_sided = one_sided

    def costs(self, probabilities: Tensor, positive: Tensor, valid: Tensor) -> Tensor:  # noqa: D102
        distances = self._powers(positive, valid, probabilities)
        if not self.one_sided:
            distances = distances + self._powers(probabilities.detach() > 0.5, valid, probabilities)
        return (probabilities - positive.to(probabilities)) ** 2 * distances

    def _powers(self, regions: Tensor, valid: Tensor, like: Tensor) -> Tensor:
        return self.distances(regions, valid, like).abs() ** self.alpha
