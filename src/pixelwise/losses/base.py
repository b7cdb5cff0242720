"""What every loss shares: the call, the checks, float32 arithmetic, and ignored pixels left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

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

    Parameters
    ----------
    ignore_index
        The target id that counts nowhere; may lie inside 0..K-1.
    multilabel
        K independent sigmoids against a B×K×H×W target of 0 and 1.
    class_weights
        One weight per class: K of them, or 2 (background, foreground) when K is 1.

    Raises
    ------
    DataError
        A target is neither a class id nor ``ignore_index``, or not of an integer type (or bool).
    UsageError
        The shapes do not fit together, or class weights are negative or not as many as the classes.
    """

    class_weights: Tensor | None
    needs: Mapping[str, Mapping[str, float]] = MappingProxyType({})
    """Weight maps that a training must compute for this loss, by name, with the options to compute them."""

    def __init__(
        self,
        ignore_index: int = 255,
        multilabel: bool = False,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.multilabel = multilabel
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        if weights is not None and not (weights.ndim == 1 and ((weights >= 0) & weights.isfinite()).all()):
            raise UsageError(f"class weights must be a list of numbers from 0 up, not {class_weights}")
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:  # noqa: D102
        self._check_type(target)
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

    def is_softmax(self, logits: Tensor) -> bool:
        """Whether the classes exclude each other; else every channel is a sigmoid of its own."""
        return logits.shape[1] > 1 and not self.multilabel

    def one_vs_rest(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The target, class by class.

        Returns
        -------
        positive
            B×K×H×W boolean: where the target is that class; False where it is ignored.
        valid
            Boolean, False where the target is ignored: B×K×H×W when ``multilabel``, else B×1×H×W.
        """
        if not self.multilabel:
            target = target.unsqueeze(1)
        if self.is_softmax(logits):
            classes = torch.arange(logits.shape[1], device=target.device)
            classes = classes.view(1, -1, *(1 for _ in logits.shape[2:]))
        else:
            classes = torch.ones((), dtype=target.dtype, device=target.device)
        valid = self.valid(target)
        return (target == classes) & valid, valid

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
        positive, valid = self.one_vs_rest(logits, target)
        return self.probabilities(logits), positive.to(logits), valid.expand_as(positive)

    def probabilities(self, logits: Tensor) -> Tensor:
        """B×K×H×W, the softmax over K classes; the sigmoid for one class and for multilabel."""
        return logits.softmax(dim=1) if self.is_softmax(logits) else logits.sigmoid()

    def weights_of_classes(self, logits: Tensor) -> Tensor | None:
        """The class weights as K (or 2) numbers like the logits, once they are known to fit."""
        if self.class_weights is None:
            return None
        expected = 2 if logits.shape[1] == 1 and not self.multilabel else logits.shape[1]
        if len(self.class_weights) != expected:
            raise UsageError(
                f"{len(self.class_weights)} class weights do not fit logits with {logits.shape[1]} channels: "
                f"give {expected}"
            )
        return self.class_weights.to(logits)

    def weights_of_entries(self, logits: Tensor, positive: Tensor) -> Tensor | None:
        """The class weight of each entry of :meth:`one_vs_rest`, in a shape that broadcasts to it.

        That is the weight of the entry's channel; of background or foreground when there is one channel.
        """
        weights = self.weights_of_classes(logits)
        if weights is None:
            return None
        if logits.shape[1] == 1 and not self.multilabel:
            return weights[positive.long()]
        return weights.view(1, -1, *(1 for _ in logits.shape[2:]))

    def _check_type(self, target: Tensor) -> None:
        if target.is_floating_point() or target.is_complex():
            expected = "integers or booleans of 0 and 1" if self.multilabel else "integer class ids"
            raise DataError(
                f"the target is {str(target.dtype).removeprefix('torch.')} where {expected} are expected: "
                "convert the masks with .long()"
            )

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
    """Several losses added, each with its factor.

    Where some terms need a weight map of their own (U-Net's border map), ``weight`` is that map and goes to
    them alone; otherwise it goes to all.
    """

    def __init__(self, terms: Sequence[tuple[float, Loss]]) -> None:
        super().__init__(terms[0][1].ignore_index, terms[0][1].multilabel)
        self.factors = tuple(factor for factor, _ in terms)
        self.losses = nn.ModuleList(loss for _, loss in terms)
        needs = [loss.needs for _, loss in terms if loss.needs]
        if needs:
            self.needs = needs[0]
        if any(other != self.needs for other in needs):
            raise UsageError(f"one weight map cannot serve losses that need different ones: {needs}")

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:  # noqa: D102
        parts = []
        for factor, loss in zip(self.factors, self.losses, strict=True):
            own = weight if loss.needs == self.needs else None
            parts.append(factor * loss(logits, target, own))
        return torch.stack(parts).sum()


def pixel_importance(logits: Tensor, valid: Tensor, weight: Tensor | None) -> Tensor:
    """How much each pixel counts, shaped like ``valid`` (B×1×H×W or B×K×H×W): its weight, 0 if ignored."""
    if weight is None:
        return valid.to(logits)
    # an ignored pixel's weight may be anything, nan too
    return weight.to(logits).unsqueeze(1).where(valid, 0)


def divide(total: Tensor, importance: Tensor) -> Tensor:
    """``total / importance``, or 0 with gradient where nothing is important."""
    return total / importance.where(importance > 0, 1)
