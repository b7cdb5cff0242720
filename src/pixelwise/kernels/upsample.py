"""Bringing logits to an image's size: bilinear, align_corners=False, and the argmax on the way.

Both functions sample as ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`` does,
without antialiasing when they shrink: the centre of output pixel i lies at (i + 0.5) * in / out - 0.5 between
the centres of the input pixels, and at the edge the last pixel holds.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

_PIXELS_WORTH_A_THREAD = 1 << 19


def upsample_argmax(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The class with the largest bilinearly interpolated logit, without K planes of the output's size.

    Each output row is interpolated vertically into K×w values with their argmax. Between two columns
    of the same class nothing is computed: logits are linear there, so a class that leads at both
    ends leads all the way. Only between columns of different classes is each pixel interpolated.

    Parameters
    ----------
    logits
        K×h×w float32 (other floats are converted). K = 1 is binary: class 1 where the logit is above 0.
    size
        (height, width) of the result; may be smaller than h×w.

    Returns
    -------
    H×W class ids, the lowest one at a tie: uint8, or uint16 when K > 255.

    Examples
    --------
    >>> upsample_argmax(np.array([[[1, 0]], [[0, 1]]], np.float32), (1, 4))
    array([[0, 0, 1, 1]], dtype=uint8)
    """
    # Only now: loading numba and the kernel takes 0.3 s, which a Segmenter does while its engine starts.
    from pixelwise.kernels.argmax_rows import argmax_rows

    logits = np.ascontiguousarray(logits, np.float32)
    if len(logits) == 1:
        logits = np.concatenate([np.zeros_like(logits), logits])
    labels = np.empty(size, np.uint8 if len(logits) <= 255 else np.uint16)
    rows, columns = _taps(size[0], logits.shape[1]), _taps(size[1], logits.shape[2])

    # As many threads as OpenCV may use: it heeds affinity, container limits and cv2.setNumThreads.
    threads = max(1, min(cv2.getNumThreads(), labels.size // _PIXELS_WORTH_A_THREAD))
    edges = np.linspace(0, size[0], threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(
            pool.map(
                lambda start, stop: argmax_rows(logits, *rows, *columns, start, stop, labels),
                edges[:-1],
                edges[1:],
            )
        )
    return labels


def upsample_logits(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinearly interpolated logits, plane by plane.

    Parameters
    ----------
    logits
        K×h×w float32 (other floats are converted).
    size
        (height, width) of the result; may be smaller than h×w.

    Returns
    -------
    K×H×W float32.

    Examples
    --------
    >>> upsample_logits(np.array([[[0, 1]]], np.float32), (1, 4))
    array([[[0.  , 0.25, 0.75, 1.  ]]], dtype=float32)
    """
    resized = np.empty((len(logits), *size), np.float32)
    for source, target in zip(logits, resized, strict=True):
        # OpenCV's INTER_LINEAR has the same half-pixel convention.
        cv2.resize(np.asarray(source, np.float32), size[::-1], dst=target, interpolation=cv2.INTER_LINEAR)
    return resized


def _taps(out_length: int, in_length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each output position its two input positions (int64) and the weight of the second (float32)."""
    position = ((np.arange(out_length) + 0.5) * (in_length / out_length) - 0.5).clip(0, in_length - 1)
    first = position.astype(np.int64)
    return first, np.minimum(first + 1, in_length - 1), (position - first).astype(np.float32)
