"""Random changes of samples and clips in one affine warp, and windows of large images.

:class:`Augment` changes, :class:`PatchSampler` cuts windows, :func:`resize_sample` resizes without chance.
:class:`VolumeAugment` and :class:`VolumePatchSampler` do the first two for volumes.
"""

from pixelwise.augment.augmentation import Augment
from pixelwise.augment.patches import PatchSampler
from pixelwise.augment.resize import resize_image, resize_sample
from pixelwise.augment.volume import VolumeAugment, VolumePatchSampler, apply_window

__all__ = [
    "Augment",
    "PatchSampler",
    "VolumeAugment",
    "VolumePatchSampler",
    "apply_window",
    "resize_image",
    "resize_sample",
]
