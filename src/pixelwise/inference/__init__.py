"""Running models: engines, the Segmenter that a user holds, tiles, views, ensembles, many files."""

from pixelwise.inference.ensemble import Ensemble
from pixelwise.inference.journal import Journal, remove_leftovers
from pixelwise.inference.pipeline import Outcome, predict_files
from pixelwise.inference.segmenter import Predictor, Segmentation, Segmenter

__all__ = [
    "Ensemble",
    "Journal",
    "Outcome",
    "Predictor",
    "Segmentation",
    "Segmenter",
    "predict_files",
    "remove_leftovers",
]
