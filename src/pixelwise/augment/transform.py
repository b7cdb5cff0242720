"""One drawn change, applied to everything that belongs to an image."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from pixelwise.augment.colour import Colour
from pixelwise.augment.geometry import filter_channels, warp
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
        check_parts(sample)
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
            image = filter_channels(image, lambda group: cv2.GaussianBlur(group, (0, 0), self.blur))
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
        return warp(
            weights.astype(np.float32, copy=False), self.matrix, self.size, linear=False, border="constant"
        )

    def flow(self, flow: np.ndarray) -> np.ndarray:
        """H×W×2 float32 flow (dx, dy): the field moves and its vectors turn, mirror and stretch.

        Outside, it is that of the nearest edge pixel: mirrored vectors would point the wrong way.
        """
        moved = warp(flow, self.matrix, self.size, linear=True, border="replicate")
        return moved @ self.matrix[:2, :2].T.astype(flow.dtype)


def check_parts(sample: Sample) -> None:
    """Raise DataError unless everything of a sample has its image's size, and the mask holds class ids."""
    parts = {"mask": sample.mask, "instances": sample.instances}
    parts |= {f"weights '{name}'": values for name, values in sample.weights.items()}
    for name, part in parts.items():
        if part is not None:
            check_part(part, sample.size, name, str(sample.path or "sample"))


def check_part(part: np.ndarray, size: tuple[int, int], name: str, where: str) -> None:
    """Raise DataError unless ``part`` has the (height, width) of its image; a mask must hold class ids."""
    if part.shape[:2] != size:
        raise DataError(
            f"{where}: the image is {size[1]}x{size[0]} pixels but its {name} "
            f"{part.shape[1]}x{part.shape[0]} (width x height); export both at the same size"
        )
    if name == "mask" and part.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{where}: a mask holds class ids as uint8 or uint16, found {part.dtype}; "
            "convert it with mask.astype(numpy.uint8)"
        )
