"""A segmenter whose answers a dense CRF goes over, so that masks follow the edges of the image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from pixelwise.inference.segmenter import Segmentation
from pixelwise.labels import LabelMap
from pixelwise.refine import CrfParameters


class _Segmenter(Protocol):
    @property
    def labels(self) -> LabelMap: ...

    def predict(self, image: Any, probabilities: bool = False) -> Segmentation: ...


class RefinedSegmenter:
    """Predicts as another segmenter does and refines the probabilities.

    Parameters
    ----------
    segmenter
        Whatever labels images and gives probabilities on request.
    parameters
        Of the CRF.
    reference_size
        The longer side, in pixels, of the images that the parameters are meant for; None takes them as they
        are. See :func:`pixelwise.refine.dense_crf`.
    """

    def __init__(
        self, segmenter: _Segmenter, parameters: CrfParameters, reference_size: float | None = None
    ) -> None:
        self.segmenter = segmenter
        self.parameters = parameters
        self.reference_size = reference_size

    @property
    def labels(self) -> LabelMap:
        """The classes of the segmenter."""
        return self.segmenter.labels

    def predict(self, image: Any, probabilities: bool = False) -> Segmentation:
        """Label every pixel of one image, as :meth:`Segmenter.predict` does."""
        found = self.segmenter.predict(image, probabilities=True)
        assert found.probabilities is not None
        multilabel = found.mask.ndim == 3
        refined = self.parameters.apply(
            found.image, found.probabilities, multilabel=multilabel, reference_size=self.reference_size
        )
        if multilabel or len(refined) == 1:
            mask = refined > 0.5
            mask = mask if multilabel else mask[0]
        else:
            mask = refined.argmax(axis=0)
        mask = mask.astype(found.mask.dtype)
        return replace(found, mask=mask, probabilities=refined if probabilities else None)

    def predict_many(self, images: Iterable[np.ndarray]) -> Iterator[Segmentation]:
        """Label many images in order."""
        return map(self.predict, images)
