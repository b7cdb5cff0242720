"""What every loss shares: the call, the checks, float32 arithmetic, and ignored pixels left out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixelwise.errors import DataError, UsageError


class Loss(nn.Module):
    """A scalar from logits and targets; a subclass defines :meth:`compute`.

    Called as ``loss(logits, target, weight=None)``:

    - ``logits``: B×K×H×W float, or B×K×D×H×W for volumes. Computed in float32 also inside autocast (float64
      stays float64).
    - ``target``: B×H×W integer class ids; B×K×H×W of 0 and 1 when ``multilabel``; 0 and 1 when K is 1.
      Never written to.
    - ``weight``: optional B×H×W float, the importance of each pixel.

    Pixels whose target is ``ignore_index`` count nowhere; when that is all of them, the loss is 0 and its
    gradient too. Targets are checked on every call, which on an accelerator waits for the device once.

    Raises
    ------
    DataError
        A target is neither a class id nor ``ignore_index``.
    UsageError
        The shapes do not fit together.
    """

    def __init__(self, ignore_index: int = 255, multilabel: bool = False) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.multilabel = multilabel

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:  # noqa: D102
        self._check_shapes(logits, target, weight)
        target = target.long()  # a uint8 cannot be compared with an ignore_index of 65535
        self._check_ids(target, logits.shape[1])
        with torch.autocast(logits.device.type, enabled=False):
            precise = logits if logits.dtype == torch.float64 else logits.float()
            return self.compute(precise, target, weight)

    def compute(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """The loss of checked input: float32 or float64 logits, int64 targets."""
        raise NotImplementedError

    def valid(self, target: Tensor) -> Tensor:
        """Boolean, True where the target is not ignored."""
        return target != self.ignore_index

    def per_class(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What losses over regions compare, class by class.

        Returns
        -------
        probabilities
            B×K×H×W, the softmax over K classes; the sigmoid for one class and for multilabel.
        positive
            B×K×H×W of 0 and 1 in the same dtype: where the target is that class; 0 where it is ignored.
        valid
            B×K×H×W boolean (an expanded view): False where the target is ignored.
        """
        binary = self.multilabel or logits.shape[1] == 1
        probabilities = logits.sigmoid() if binary else logits.softmax(dim=1)
        if not self.multilabel:
            target = target.unsqueeze(1)
        if binary:
            classes = torch.ones((), dtype=target.dtype, device=target.device)
        else:
            classes = torch.arange(logits.shape[1], device=target.device)
            classes = classes.view(1, -1, *(1 for _ in logits.shape[2:]))
        valid = self.valid(target)
        positive = ((target == classes) & valid).to(logits)
        return probabilities, positive, valid.expand_as(positive)

    def _check_shapes(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> None:
        batch, _, *sides = logits.shape
        pixels = (batch, *sides)
        expected = tuple(logits.shape) if self.multilabel else pixels
        if tuple(target.shape) != expected:
            raise UsageError(
                f"a target of shape {tuple(target.shape)} does not fit logits of shape "
                f"{tuple(logits.shape)}: expected {expected}"
            )
        if weight is not None and tuple(weight.shape) != pixels:
            raise UsageError(f"a weight map of shape {tuple(weight.shape)} does not fit: expected {pixels}")

    def _check_ids(self, target: Tensor, num_classes: int) -> None:
        highest = 1 if self.multilabel or num_classes == 1 else num_classes - 1
        outside = ((target > highest) | (target < 0)) & self.valid(target)
        if outside.any():
            found = target[outside].unique()[:5].tolist()
            raise DataError(
                f"the target holds class id {', '.join(map(str, found))} where 0..{highest} or "
                f"{self.ignore_index} (ignored) is expected: check the masks against the class list"
            )


class WeightedSum(Loss):
    """Several losses added, each with its factor."""

    def __init__(self, terms: Sequence[tuple[float, Loss]]) -> None:
        super().__init__(terms[0][1].ignore_index, terms[0][1].multilabel)
        self.factors = tuple(factor for factor, _ in terms)
        self.losses = nn.ModuleList(loss for _, loss in terms)

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:  # noqa: D102
        parts = [
            factor * loss(logits, target, weight)
            for factor, loss in zip(self.factors, self.losses, strict=True)
        ]
        return torch.stack(parts).sum()
