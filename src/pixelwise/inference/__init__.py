"""Running models: engines, the Segmenter that a user holds, tiles for large images."""

from pixelwise.inference.segmenter import Segmentation, Segmenter

__all__ = ["Segmentation", "Segmenter"]
