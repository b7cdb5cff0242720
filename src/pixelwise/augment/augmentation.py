"""Random scale, crop, flip, rotation and colour: one affine warp, one table, one matrix per sample.

Left out, because they cost much and have not been shown to help segmentation as these have: elastic
and perspective warps, additive noise, cut-out, mixing of images. Any of them can run afterwards as a
callable in ``then``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import overload

import numpy as np

from pixelwise.augment.colour import Colour, chroma_matrix
from pixelwise.augment.geometry import rotation, translation, zoom
from pixelwise.augment.patches import PatchSampler
from pixelwise.augment.transform import Transform, check_part, check_parts
from pixelwise.errors import UsageError
from pixelwise.sample import Clip, Lazy, Sample

_BLUR_RANGE = (0.3, 1.5)  # standard deviations in output pixels: from barely visible to out of focus


@dataclass(frozen=True)
class Augment:
    """Settings of random augmentation; calling it augments a sample or a clip.

    Image, mask, instances and weights move together, and so do all frames, masks and flow fields of a
    clip. The image is interpolated once, linearly, and averaged over areas where it shrinks a lot; mask,
    instances and weights take the nearest pixel. Outside the source the image is mirrored, the mask
    ignored, instances and weights 0. Equal settings, samples and generator states give equal results.

    Parameters
    ----------
    size
        (height, width) of the result in pixels.
    working_size
        (height, width) of the box that a sample just fits into at scale 1, its aspect ratio kept. None
        leaves it at its own pixels: for large images that are cut into patches.
    scale
        Range of the zoom; doubling and halving are equally likely.
    foreground
        Probability of centring the crop on a pixel of a rarer class (see :class:`PatchSampler`).
    flip, flip_vertical
        Probabilities of mirroring left-right and top-bottom. Set ``flip`` to 0 where classes have a side
        (left arm, right arm); use ``flip_vertical`` for views from above and microscopy.
    rotate
        Largest angle in degrees, either way; 180 where up and down mean nothing.
    brightness, contrast, gamma, saturation
        Largest change of a factor: 0.25 draws from 1/1.25 to 1.25, either side equally likely.
    hue
        Largest turn of the colour circle; 0.5 is half-way round.
    blur
        Probability of a Gaussian blur of 0.3 to 1.5 pixels.
    ignore
        The mask's id for "no label".
    then
        Callables ``sample -> sample`` that run afterwards, in order; they must keep the size.

    Raises
    ------
    UsageError
        A setting is out of its range; a callable of ``then`` changes the size.
    DataError
        When called: image and mask differ in size; the mask is not uint8 or uint16. Of a clip, when the
        part is touched.

    Notes
    -----
    Colour changes apply to H×W×3 uint8 only; the values of other rasters are measurements.

    Examples
    --------
    >>> sample = Sample(np.zeros((90, 120, 3), np.uint8), np.ones((90, 120), np.uint8))
    >>> augment = Augment(size=(64, 64), rotate=5)
    >>> augmented = augment(sample, np.random.default_rng(0))
    >>> augmented.image.shape, augmented.mask.shape
    ((64, 64, 3), (64, 64))
    """

    size: tuple[int, int]
    working_size: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.5, 2.0)
    foreground: float = 0.0
    flip: float = 0.5
    flip_vertical: float = 0.0
    rotate: float = 10.0
    brightness: float = 0.25
    contrast: float = 0.25
    gamma: float = 0.0
    saturation: float = 0.25
    hue: float = 0.02
    blur: float = 0.1
    ignore: int = 255
    then: tuple[Callable[[Sample], Sample], ...] = ()

    def __post_init__(self) -> None:
        for name in ("size", "working_size"):
            sides = getattr(self, name)
            if sides is not None and (len(sides) != 2 or min(sides) < 1):
                raise UsageError(f"{name} is a height and a width of at least 1 pixel, found {sides}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise UsageError(f"scale is a range of positive factors, low before high, found {self.scale}")
        for name in ("foreground", "flip", "flip_vertical", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is a probability from 0 to 1, found {getattr(self, name)}")
        for name in ("rotate", "brightness", "contrast", "gamma", "saturation", "hue"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} is the largest change, 0 for none, found {getattr(self, name)}")

    @overload
    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample: ...
    @overload
    def __call__(self, sample: Clip, rng: np.random.Generator) -> Clip: ...
    def __call__(self, sample: Sample | Clip, rng: np.random.Generator) -> Sample | Clip:
        """A changed copy; a clip's frames stay lazy and share one draw of the chances."""
        if isinstance(sample, Clip):
            return self._clip(sample, rng)
        check_parts(sample)
        mask = sample.mask if self.foreground else None
        augmented = self.draw(sample.size, rng, mask).sample(sample)
        for function in self.then:
            augmented = self._checked(function(augmented), function)
        return augmented

    def draw(
        self, image_size: tuple[int, int], rng: np.random.Generator, mask: np.ndarray | None = None
    ) -> Transform:
        """Throw the dice for an image of (height, width) pixels; ``mask`` guides ``foreground``."""
        factor = math.exp(rng.uniform(math.log(self.scale[0]), math.log(self.scale[1])))
        factor *= self._fit(image_size)
        flip = -1 if rng.random() < self.flip else 1
        flip_vertical = -1 if rng.random() < self.flip_vertical else 1
        turn = rng.uniform(-self.rotate, self.rotate)

        height, width = self.size
        extent = (height / factor, width / factor)
        sampler = PatchSampler(self.size, self.foreground, self.ignore)
        x, y = sampler.centre(image_size, rng, mask, extent=extent)
        # A window that starts on a whole pixel needs no interpolation when nothing else asks for it.
        left, top = round(x - extent[1] / 2), round(y - extent[0] / 2)
        matrix = (
            translation(width / 2, height / 2)
            @ rotation(turn)
            @ zoom(flip, flip_vertical)
            @ translation(-width / 2, -height / 2)
            @ zoom(factor)
            @ translation(-left, -top)
        )
        colour = self._draw_colour(rng)
        blur = rng.uniform(*_BLUR_RANGE) if rng.random() < self.blur else 0.0
        return Transform(matrix, self.size, self.ignore, colour, blur)

    def _fit(self, image_size: tuple[int, int]) -> float:
        if self.working_size is None:
            return 1.0
        return min(self.working_size[0] / image_size[0], self.working_size[1] / image_size[1])

    def _draw_colour(self, rng: np.random.Generator) -> Colour:
        gamma, brightness = _draw_factor(self.gamma, rng), _draw_factor(self.brightness, rng)
        contrast, saturation = _draw_factor(self.contrast, rng), _draw_factor(self.saturation, rng)
        hue = rng.uniform(-self.hue, self.hue)
        toned = self.gamma or self.brightness or self.contrast
        tinted = self.saturation or self.hue
        return Colour(
            tone=(gamma, brightness, contrast) if toned else None,
            matrix=chroma_matrix(saturation, hue) if tinted else None,
        )

    def _clip(self, clip: Clip, rng: np.random.Generator) -> Clip:
        if self.then:
            raise UsageError(
                "callables in 'then' change one sample at a time and would treat the frames of a clip "
                "differently; augment clips with an Augment without them"
            )
        masks = sorted(clip.masks) if self.foreground else []
        guide = clip.frame(int(rng.choice(masks))) if masks else clip.frame(0)
        if masks:
            check_parts(guide)
        size, where = guide.size, str(clip.path or "clip")
        transform = self.draw(size, rng, guide.mask if masks else None)

        def later(change: Callable[[np.ndarray], np.ndarray], source: Lazy, name: str) -> Lazy:
            return partial(_checked_change, change, source, size, name, where)

        return Clip(
            frames=[later(transform.image, frame, "other frame") for frame in clip.frames],
            times=clip.times,
            masks={t: later(transform.mask, mask, "mask") for t, mask in clip.masks.items()},
            instances={t: later(transform.instances, ids, "instances") for t, ids in clip.instances.items()},
            flow={t: later(transform.flow, flow, "flow") for t, flow in clip.flow.items()},
            path=clip.path,
            meta=clip.meta | {"matrix": transform.matrix},
        )

    def _checked(self, sample: object, function: Callable[[Sample], Sample]) -> Sample:
        name = getattr(function, "__name__", type(function).__name__)
        if not isinstance(sample, Sample):
            raise UsageError(f"'{name}' must return a Sample, found {type(sample).__name__}")
        parts = {"image": sample.image, "mask": sample.mask, "instances": sample.instances}
        for part, array in (parts | sample.weights).items():
            if array is not None and array.shape[:2] != self.size:
                raise UsageError(
                    f"'{name}' must keep the size of {self.size[0]}x{self.size[1]} (height x width), but its "
                    f"{part} has {array.shape[0]}x{array.shape[1]}; change the size through Augment.size"
                )
        return sample


def _draw_factor(change: float, rng: np.random.Generator) -> float:
    largest = math.log1p(change)
    return math.exp(rng.uniform(-largest, largest))


def _checked_change(
    change: Callable[[np.ndarray], np.ndarray], source: Lazy, size: tuple[int, int], name: str, where: str
) -> np.ndarray:
    part = source() if callable(source) else source
    check_part(part, size, name, where)
    return change(part)
