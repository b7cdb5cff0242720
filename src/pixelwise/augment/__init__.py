"""Random changes of samples and clips in one affine warp, and windows of large images.

:class:`Augment` changes, :class:`PatchSampler` cuts windows, :func:`resize_sample` resizes without chance.
"""

from pixelwise.augment.augmentation import Augment
from pixelwise.augment.patches import PatchSampler
from pixelwise.augment.resize import resize_image, resize_sample

__all__ = ["Augment", "PatchSampler", "resize_image", "resize_sample"]
