"""How good a result is: dataset-level numbers from integer counts, the rule for absent classes stated."""

from pixelwise.metrics.average_precision import PixelAveragePrecision, average_precision
from pixelwise.metrics.confusion import ConfusionMatrix
from pixelwise.metrics.instance_precision import InstanceAveragePrecision, InstanceScores
from pixelwise.metrics.instances import Instances
from pixelwise.metrics.panoptic import PanopticQuality, panoptic_quality

__all__ = [
    "ConfusionMatrix",
    "InstanceAveragePrecision",
    "InstanceScores",
    "Instances",
    "PanopticQuality",
    "PixelAveragePrecision",
    "average_precision",
    "panoptic_quality",
]
