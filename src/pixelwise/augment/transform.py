"""One drawn change, applied to everything that belongs to an image."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from pixelwise.augment.colour import Colour
from pixelwise.augment.geometry import per_channel_group, warp
from pixelwise.errors import DataError
from pixelwise.sample import Sample


@dataclass(frozen=True)
class Transform:
    """An affine map of the plane, a colour change and a blur.

    Attributes
    ----------
    matrix
        3×3 map from source to output in pixels, corner origin (see :mod:`pixelwise.augment.geometry`).
    size
        (height, width) of the output.
    ignore
        The id of mask pixels outside the source.
    colour
        The colour change, for uint8 RGB only.
    blur
        Standard deviation of a Gaussian in output pixels; 0 for none.
    """

    matrix: np.ndarray
    size: tuple[int, int]
    ignore: int = 255
    colour: Colour = field(default_factory=Colour)
    blur: float = 0.0

    def sample(self, sample: Sample) -> Sample:
        """Everything of a sample, moved together; ``meta["matrix"]`` tells how points move."""
        check_sizes(sample)
        mask, instances = sample.mask, sample.instances
        return sample.replace(
            image=self.image(sample.image),
            mask=None if mask is None else self.mask(mask),
            instances=None if instances is None else self.instances(instances),
            weights={name: self.weights(values) for name, values in sample.weights.items()},
            meta=sample.meta | {"matrix": self.matrix},
        )

    def image(self, image: np.ndarray) -> np.ndarray:
        """H×W×C, linear, mirrored outside."""
        image = warp(image, self.matrix, self.size, linear=True, border="reflect")
        if self.blur:
            image = per_channel_group(image, lambda group: cv2.GaussianBlur(group, (0, 0), self.blur))
        return self.colour.apply(image)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """H×W ids, nearest, ignored outside; uint16 when the ignored id does not fit otherwise."""
        if self.ignore > np.iinfo(mask.dtype).max:
            mask = mask.astype(np.uint16)
        return warp(mask, self.matrix, self.size, linear=False, border="constant", fill=self.ignore)

    def instances(self, instances: np.ndarray) -> np.ndarray:
        """H×W instance ids, nearest, 0 outside."""
        return warp(
            instances.astype(np.int32, copy=False), self.matrix, self.size, linear=False, border="constant"
        )

    def weights(self, weights: np.ndarray) -> np.ndarray:
        """H×W weights, nearest (a weight stays with the label it belongs to), 0 outside."""
        return warp(weights, self.matrix, self.size, linear=False, border="constant")

    def flow(self, flow: np.ndarray) -> np.ndarray:
        """H×W×2 float32 flow (dx, dy): the field moves and its vectors turn, mirror and stretch.

        Outside, it is that of the nearest edge pixel: mirrored vectors would point the wrong way.
        """
        moved = warp(flow, self.matrix, self.size, linear=True, border="replicate")
        return moved @ self.matrix[:2, :2].T.astype(flow.dtype)


def check_sizes(sample: Sample) -> None:
    """Raise DataError when something of a sample has not the size of its image."""
    parts = {"mask": sample.mask, "instances": sample.instances}
    parts |= {f"weights '{name}'": values for name, values in sample.weights.items()}
    for name, part in parts.items():
        if part is not None and part.shape != sample.size:
            height, width = sample.size
            found = "x".join(str(side) for side in part.shape[::-1])
            raise DataError(
                f"{sample.path or 'sample'}: the image is {width}x{height} pixels but its {name} "
                f"{found} (width x height); export both at the same size"
            )
