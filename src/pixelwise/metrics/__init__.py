"""How good a result is: dataset-level numbers from integer counts, the rule for absent classes stated."""

from pixelwise.metrics.average_precision import PixelAveragePrecision, average_precision
from pixelwise.metrics.boundary import BoundaryF1, BoundaryIoU, Trimap, boundary_f1, boundary_iou
from pixelwise.metrics.calibration import Calibration
from pixelwise.metrics.confusion import ConfusionMatrix
from pixelwise.metrics.instance_precision import InstanceAveragePrecision, InstanceScores
from pixelwise.metrics.instances import Instances
from pixelwise.metrics.panoptic import PanopticQuality, panoptic_quality
from pixelwise.metrics.sizes import SizeIoU
from pixelwise.metrics.surface import (
    SurfaceDistances,
    average_surface_distance,
    class_surface_distances,
    hausdorff,
    normalised_surface_distance,
    surface_distances,
)
from pixelwise.metrics.top_k import top_k_accuracy

__all__ = [
    "BoundaryF1",
    "BoundaryIoU",
    "Calibration",
    "ConfusionMatrix",
    "InstanceAveragePrecision",
    "InstanceScores",
    "Instances",
    "PanopticQuality",
    "PixelAveragePrecision",
    "SizeIoU",
    "SurfaceDistances",
    "Trimap",
    "average_precision",
    "average_surface_distance",
    "boundary_f1",
    "boundary_iou",
    "class_surface_distances",
    "hausdorff",
    "normalised_surface_distance",
    "panoptic_quality",
    "surface_distances",
    "top_k_accuracy",
]
