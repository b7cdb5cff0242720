"""Running models: engines, the Segmenter that a user holds, tiles for large images, many files."""

from pixelwise.inference.pipeline import Outcome, predict_files
from pixelwise.inference.segmenter import Segmentation, Segmenter

__all__ = ["Outcome", "Segmentation", "Segmenter", "predict_files"]
