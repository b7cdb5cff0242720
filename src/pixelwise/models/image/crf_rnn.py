"""Mean field inference of a dense CRF as a layer that learns with the network before it.

Source: Zheng et al., "Conditional Random Fields as Recurrent Neural Networks", ICCV 2015, arXiv 1502.03240.
Each of the T steps is differentiable: softmax, filtering with a Gaussian and a bilateral kernel, weighing the
two, the compatibility transform, adding the unary logits. The weights are learnt, the kernels' sizes are not,
and no gradient goes to the image.

Where it departs from the paper: kernels are normalised symmetrically, as in :mod:`pixelwise.refine.dense_crf`
and with the same results, rather than on one side. Filters run on the CPU wherever the tensors are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pixelwise.errors import UsageError
from pixelwise.kernels.lattice import Lattice
from pixelwise.refine.dense_crf import CrfParameters, kernel_features


class CrfRnn(nn.Module):
    """Refines logits with the colours of the image; a layer for the end of any network.

    With new weights it computes what :func:`pixelwise.refine.dense_crf` does with the same parameters.

    Parameters
    ----------
    num_classes
        K, at least 2.
    parameters
        The kernels' sizes, the initial weights and the number of steps. The default has the values of the
        authors' code: sizes 3, and 160 and 3, weights 3 and 5; and the paper's 5 steps of training. Set the
        attribute ``iterations`` to 10 for testing, as in the paper.

    Raises
    ------
    UsageError
        Fewer than 2 classes.
    """

    def __init__(self, num_classes: int, parameters: CrfParameters | None = None) -> None:
        super().__init__()
        if num_classes < 2:
            raise UsageError(f"a CRF layer needs at least 2 classes, got num_classes={num_classes}")
        self.crf = parameters or CrfParameters(
            iterations=5,
            gaussian_sxy=3,
            gaussian_weight=3,
            bilateral_sxy=160,
            bilateral_srgb=3,
            bilateral_weight=5,
        )
        self.iterations = self.crf.iterations
        eye = torch.eye(num_classes)
        self.gaussian_weight = nn.Parameter(self.crf.gaussian_weight * eye)
        self.bilateral_weight = nn.Parameter(self.crf.bilateral_weight * eye)
        self.compatibility = nn.Parameter(-eye)  # the energy of each label beside each other one: Potts

    def forward(self, logits: Tensor, images: Tensor) -> Tensor:
        """Refined logits.

        Parameters
        ----------
        logits
            B×K×H×W.
        images
            B×3×H×W RGB from 0 to 255, not normalised.

        Returns
        -------
        B×K×H×W; their softmax is the distribution after the last step.
        """
        if images.shape[:1] + images.shape[2:] != logits.shape[:1] + logits.shape[2:]:
            raise UsageError(
                f"logits of shape {tuple(logits.shape)} and images of shape {tuple(images.shape)} "
                "do not fit: give both one batch and size"
            )
        refined = [
            self._refine(one.flatten(1).T, self._filters(image))
            for one, image in zip(logits, images, strict=True)
        ]
        return torch.stack(refined).transpose(1, 2).reshape(logits.shape)

    def _refine(self, unary: Tensor, filters: list[Lattice]) -> Tensor:
        """N×K logits after all steps."""
        logits = unary
        for _ in range(self.iterations):
            beliefs = logits.softmax(dim=1)
            gaussian, bilateral = (_Filter.apply(beliefs, lattice) for lattice in filters)
            messages = gaussian @ self.gaussian_weight.T + bilateral @ self.bilateral_weight.T
            logits = unary - messages @ self.compatibility.T
        return logits

    def _filters(self, image: Tensor) -> list[Lattice]:
        """The Gaussian and the bilateral kernel between the pixels of a 3×H×W image."""
        size = (int(image.shape[1]), int(image.shape[2]))
        colours = image.detach().float().cpu().flatten(1).T.numpy()
        both = replace(self.crf, gaussian_weight=1, bilateral_weight=1)
        kernels = kernel_features(both, size, (1.0, 1.0), colours)
        return [Lattice([features]) for features, _ in kernels]


class _Filter(torch.autograd.Function):
    """A linear filter of N×K values; the gradient goes through its transpose."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, lattice: Lattice) -> Tensor:  # noqa: D102
        ctx.lattice = lattice
        return _through(lattice, values, transpose=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        return _through(ctx.lattice, gradient, transpose=True), None


def _through(lattice: Lattice, values: Tensor, transpose: bool) -> Tensor:
    filtered = lattice.filter(values.detach().cpu().numpy(), transpose=transpose)
    return torch.from_numpy(filtered.copy()).to(values)
