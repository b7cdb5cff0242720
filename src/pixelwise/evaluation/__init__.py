"""Runs a segmenter over labelled images or volumes and keeps what came out: tables, intervals, examples."""

from pixelwise.evaluation.comparison import Comparison, Difference, compare
from pixelwise.evaluation.crf import CrfChoice, choose_crf
from pixelwise.evaluation.details import Details
from pixelwise.evaluation.evaluate import Predictor, evaluate, pick_examples
from pixelwise.evaluation.evaluation import Evaluation, ImageScore
from pixelwise.evaluation.volumes import evaluate_volumes, pick_slices

__all__ = [
    "Comparison",
    "CrfChoice",
    "Details",
    "Difference",
    "Evaluation",
    "ImageScore",
    "Predictor",
    "choose_crf",
    "compare",
    "evaluate",
    "evaluate_volumes",
    "pick_examples",
    "pick_slices",
]
