"""Runs a segmenter over labelled images and keeps what came out: tables, intervals, examples."""

from pixelwise.evaluation.evaluate import Predictor, evaluate, pick_examples
from pixelwise.evaluation.evaluation import Evaluation, ImageScore

__all__ = ["Evaluation", "ImageScore", "Predictor", "evaluate", "pick_examples"]
