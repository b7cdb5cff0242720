"""How good a result is: dataset-level numbers from integer counts, the rule for absent classes stated."""

from pixelwise.metrics.confusion import ConfusionMatrix

__all__ = ["ConfusionMatrix"]
