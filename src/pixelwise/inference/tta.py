"""Test-time augmentation: the same image seen several times, turned and at other sizes, and averaged.

What is averaged are probabilities (softmax; sigmoids of binary and multilabel models), after each view's
logits have been turned back and brought to the common size. For large images this happens tile by tile.

Source: flips and scales as in the multi-scale testing of PSPNet (Zhao et al. 2017,
https://arxiv.org/abs/1612.01105), here with a choice of scales; and the eight symmetries of a square.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pixelwise.augment import resize_image
from pixelwise.errors import UsageError, unknown_name
from pixelwise.inference.probabilities import ProbabilityMean
from pixelwise.kernels.upsample import upsample_logits

TTA_WORDS = ("none", "flip", "d4", "scales")
"""What a description of views is made of; ``scales`` is written ``scales=0.75:1:1.25``."""

SMALLEST_SCALE, LARGEST_SCALE = 0.5, 2.0

_UPRIGHT = ((0, False),)
_TURNS = {
    "none": _UPRIGHT,
    "flip": ((0, False), (0, True)),
    "d4": tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4)),
}


@dataclass(frozen=True)
class Views:
    """How one image is looked at.

    Attributes
    ----------
    turns
        (quarter turns, mirrored first) of each view.
    scales
        Sizes relative to the one without augmentation; every turn is seen at every scale.
    text
        The description in its shortest form, such as ``flip,scales=0.75:1``.
    """

    turns: tuple[tuple[int, bool], ...] = _UPRIGHT
    scales: tuple[float, ...] = (1.0,)
    text: str = "none"

    @property
    def plain(self) -> bool:
        """Whether there is nothing but the image as it is."""
        return self.turns == _UPRIGHT and self.scales == (1.0,)


def parse_tta(text: str) -> Views:
    """Understand ``none``, ``flip`` (left and right), ``d4`` (flips and quarter turns), ``scales=...``.

    One of the first three and scales may be joined by a comma.

    Raises
    ------
    UsageError
        An unknown word, scales outside of 0.5 to 2, or two descriptions of the same thing.

    Examples
    --------
    >>> parse_tta("flip,scales=1.25:0.75:1").text
    'flip,scales=0.75:1:1.25'
    >>> parse_tta("d4").turns[:3]
    ((0, False), (1, False), (2, False))
    """
    given: dict[str, str] = {}
    for part in text.split(","):
        word, equals, value = (piece.strip() for piece in part.partition("="))
        if word not in TTA_WORDS:
            raise unknown_name("test-time augmentation", word, TTA_WORDS)
        if (word == "scales") != bool(equals):
            raise UsageError(f"test-time augmentation '{text}': expected such as flip or flip,scales=0.75:1")
        kind = "scales" if word == "scales" else "turns"
        if kind in given:
            raise UsageError(
                f"test-time augmentation '{text}': expected one of none, flip, d4, and one scales="
            )
        given[kind] = value if word == "scales" else word
    scales = _parse_scales(given["scales"]) if "scales" in given else (1.0,)
    turns = given.get("turns", "none")
    parts = [turns] * (turns != "none")
    parts += [f"scales={':'.join(f'{scale:g}' for scale in scales)}"] * (scales != (1.0,))
    return Views(_TURNS[turns], scales, ",".join(parts) or "none")


def average_views(
    pixels: np.ndarray,
    size: tuple[int, int],
    logits_of: Callable[[np.ndarray], np.ndarray],
    views: Views,
    head: str,
) -> np.ndarray:
    """Logits of an image whose views have been averaged as probabilities.

    Parameters
    ----------
    pixels
        H×W×C; every view is resized from these, so that a larger one shows more.
    size
        (height, width) of the result, and of the view at scale 1.
    logits_of
        h×w×C pixels of any size to K×h×w float32 logits.
    views
        What :func:`parse_tta` gives.
    head
        ``softmax``, ``binary`` or ``multilabel``.

    Returns
    -------
    K×height×width float32 logits; those of ``logits_of`` if there is only the plain view.
    """
    if views.plain:
        return logits_of(resize_image(pixels, size))
    mean = ProbabilityMean(head)
    for scale in views.scales:
        view = resize_image(pixels, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))))
        for quarters, mirrored in views.turns:
            turned = np.rot90(view[:, ::-1] if mirrored else view, quarters)
            logits = np.rot90(logits_of(np.ascontiguousarray(turned)), -quarters, axes=(1, 2))
            logits = logits[:, :, ::-1] if mirrored else logits
            mean.add(logits if scale == 1 else upsample_logits(np.ascontiguousarray(logits), size))
    return mean.logits()


def _parse_scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(sorted({float(part) for part in text.split(":")}))
    except ValueError:
        raise UsageError(
            f"scales={text}: expected numbers with colons between, such as 0.75:1:1.25"
        ) from None
    wrong = [scale for scale in scales if not SMALLEST_SCALE <= scale <= LARGEST_SCALE]
    if wrong:
        raise UsageError(
            f"scales={text}: expected {SMALLEST_SCALE:g} to {LARGEST_SCALE:g}, found {wrong[0]:g}; "
            "the model knows objects of other sizes too little"
        )
    return scales
