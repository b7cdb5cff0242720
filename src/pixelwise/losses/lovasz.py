"""Lovász losses: a convex surface through the values of 1 - IoU at hard predictions.

Source: Berman, Rannen Triki and Blaschko, "The Lovász-Softmax loss: a tractable surrogate for the
optimization of the intersection-over-union measure in neural networks", CVPR 2018, arXiv 1705.08790. The
increments of the Jaccard loss are written out, not subtracted from one another: with millions of pixels in
float32 a difference of neighbours has hardly a correct digit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pixelwise.losses.region import RegionLoss


class Lovasz(RegionLoss):
    """The Lovász extension of ``1 - IoU`` of each class, at the errors of its pixels.

    Errors are sorted from large to small, and each is multiplied by what its pixel adds to ``1 - IoU`` when
    the pixels before it are wrong already. Softmax: an error is ``|y - p|`` (Lovász-softmax). A single
    channel or ``multilabel``: ``max(0, 1 - logit)`` at true pixels and ``max(0, 1 + logit)`` at others
    (Lovász-hinge, not bounded by 1). Pixel weights count pixels several times or in part.

    Called with B×K×H×W (or B×K×D×H×W) logits and B×H×W class ids. Where classes exclude each other, a class
    without true pixels in the batch leaves the mean; an empty target of a sigmoid costs its largest error.

    Parameters
    ----------
    options
        Those of :class:`~pixelwise.losses.region.RegionLoss`: ``class_weights``, ``classes``, ``average``,
        ``per_image``, ``ignore_index``, ``multilabel``.

    Raises
    ------
    UsageError
        An option is outside its range or does not fit the logits.

    Examples
    --------
    >>> target = torch.tensor([[[1, 1, 0, 255]]])
    >>> Lovasz()(torch.tensor([[[[1.0, -1.0, -1.0, 9.0]]]]), target)  # one error, of 2, which halves the IoU
    tensor(1.)
    """

    def scores(self, logits: Tensor, positive: Tensor) -> Tensor:
        """The errors."""
        if self.is_softmax(logits):
            probabilities = logits.softmax(dim=1)
            return (1 - probabilities).where(positive, probabilities)
        return (1 - logits.where(positive, -logits)).relu()

    def costs(  # noqa: D102
        self, scores: Tensor, positive: Tensor, importance: Tensor, true: Tensor, counted: Tensor
    ) -> Tensor:
        increments = self._increments(scores.detach(), positive, importance, true, counted)
        return self.pool(scores * increments)

    @torch.no_grad()
    def _increments(
        self, errors: Tensor, positive: Tensor, importance: Tensor, true: Tensor, counted: Tensor
    ) -> Tensor:
        """What each pixel adds to 1 - IoU of each class, B×K×H×W: the gradient with respect to the errors."""
        increments = torch.zeros_like(errors)
        importance = importance.expand_as(errors)
        rows = len(true)
        on_cpu = errors.device.type == "cpu"
        for k in range(errors.shape[1]):
            if on_cpu and not counted[:, k].any():  # elsewhere asking costs more than sorting
                continue
            order = errors[:, k].reshape(rows, -1).argsort(dim=1, descending=True)
            weight = importance[:, k].reshape(rows, -1).gather(1, order)
            inside = positive[:, k].reshape(rows, -1).gather(1, order)
            total = true[:, k, None]
            invented = weight.where(~inside, 0)
            common = (total - (weight - invented).cumsum(dim=1)).clamp(min=0)
            union = total + invented.cumsum(dim=1)
            before = union - invented
            # a missed pixel takes its weight from the intersection, an invented one adds it to the union
            added = weight / union
            added = added.where(inside, added * common / before)
            # the first pixel invented where nothing is: IoU falls from 1 to 0
            added = added.where(before > 0, (weight > 0).to(added))
            ordered = torch.empty_like(added).scatter_(1, order, added)
            increments[:, k] = ordered.view_as(increments[:, k])
        return increments
