"""Boundary loss: probability times the signed distance to the true outline.

Source: Kervadec et al., "Boundary loss for highly unbalanced segmentation", MIDL 2019, arXiv 1812.07032,
equation 5, with the distances of the authors' code: outside a region that to its nearest pixel, inside minus
that to the nearest pixel beyond it, plus one, so that the region's outermost pixels lie at 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pixelwise.losses.distance import DistanceLoss


class Boundary(DistanceLoss):
    """The mean of ``p * phi`` over the pixels of each class, phi its signed distance, negative inside.

    What is predicted outside costs its distance; what is found inside earns it, so the least value is below
    0 and differs from image to image. It is linear in p and blind to classes that are absent: the paper adds
    it, by a factor that grows from 0.01, to an overlap loss whose factor shrinks. A class that is absent from
    an image, or fills it, contributes nothing there.

    Parameters
    ----------
    ignore_index
        The target id that counts nowhere; may lie inside 0..K-1.
    multilabel
        K independent sigmoids against a B×K×H×W target of 0 and 1.
    class_weights
        How much the pixels of each class's regions count; two, without effect, for K = 1.
    classes
        Only these class ids; the paper leaves out the background of two classes: ``classes=[1]``.
    spacing
        Side lengths of a pixel or voxel; with it, the outermost pixels lie at 0 along its finest axis.

    Examples
    --------
    >>> target = torch.tensor([[[1, 1, 1, 0, 0]]])
    >>> logits = torch.tensor([[[[20.0, 20.0, 20.0, -20.0, 20.0]]]])
    >>> Boundary()(logits, target)  # phi is -2, -1, 0, 1, 2
    tensor(-0.2000)
    """

    def costs(self, probabilities: Tensor, positive: Tensor, valid: Tensor) -> Tensor:  # noqa: D102
        distances = self.distances(positive, valid, probabilities)
        one = min(self.spacing) if self.spacing is not None else 1.0
        return probabilities * torch.where(positive, distances + one, distances)
