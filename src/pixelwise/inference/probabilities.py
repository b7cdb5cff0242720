"""From logits to probabilities, and from averaged probabilities back to logits."""

from __future__ import annotations

import numpy as np


def probabilities_of(logits: np.ndarray, head: str) -> np.ndarray:
    """Softmax over the first axis of K×H×W logits; sigmoids for the heads ``binary`` and ``multilabel``.

    >>> probabilities_of(np.zeros((4, 1, 1), np.float32), "softmax").ravel().tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    if head != "softmax":
        return _sigmoid(logits)
    exponentials = np.exp(logits - logits.max(axis=0))
    exponentials /= exponentials.sum(axis=0)
    return exponentials


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    from scipy.special import expit  # only now: with its import, one photo would take a tenth longer

    chances: np.ndarray = expit(logits)
    return chances


class ProbabilityMean:
    """The mean of probabilities of one head, given back as logits.

    Logits of the mean can go on as logits do: they are enlarged, decided and blended between tiles as those
    of one pass are. If all passes agree, the result differs from theirs by a number per pixel that is the
    same for all classes, so the decision is theirs, also between pixels.
    """

    def __init__(self, head: str) -> None:
        self.head = head
        self.count = 0
        self._sums: list[np.ndarray] = []

    def add(self, logits: np.ndarray) -> None:
        """Take in K×H×W logits of one more pass."""
        parts = [probabilities_of(logits, self.head)]
        if self.head != "softmax":
            parts.append(_sigmoid(-logits))  # 1 - p loses all its digits where p is nearly 1
        if self.count == 0:
            self._sums = parts
        else:
            for total, part in zip(self._sums, parts, strict=True):
                total += part
        self.count += 1

    def logits(self) -> np.ndarray:
        """K×H×W float32 logits whose probabilities are the mean."""
        # Float32 ends at exp(-87); a logarithm of zero would make NaN of a whole interpolation.
        logarithms = [
            np.log(np.maximum(total / self.count, np.finfo(np.float32).tiny)) for total in self._sums
        ]
        result = logarithms[0] if self.head == "softmax" else logarithms[0] - logarithms[1]
        return result.astype(np.float32, copy=False)
