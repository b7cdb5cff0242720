"""The Segmenter: a model that a user holds. Any size in, the same size out; no torch needed."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pixelwise.augment import resize_image
from pixelwise.bundles import Bundle
from pixelwise.draw import overlay
from pixelwise.errors import DataError, UsageError, unknown_name
from pixelwise.inference.engines import Engine, create_engine
from pixelwise.inference.pipeline import read_ahead
from pixelwise.inference.probabilities import probabilities_of
from pixelwise.inference.tiling import SMALLEST, SMALLEST_VOLUME, blend_tiles, padded_logits
from pixelwise.inference.tta import Views, average_views, parse_tta
from pixelwise.io import read_image, write_mask
from pixelwise.io.video import read_video
from pixelwise.kernels.upsample import upsample_argmax, upsample_logits
from pixelwise.labels import LabelMap
from pixelwise.sample import Volume

if TYPE_CHECKING:
    from pixelwise.inference.polygons import Region

Scale = Literal["working", "native"]
Source = np.ndarray | str | Path

_LARGEST_WHOLE = 2048 * 2048  # px; a larger working image goes through in tiles


@dataclass
class Segmentation:
    """What a model says about one image.

    Attributes
    ----------
    mask
        H×W class ids at the image's size (uint8, or uint16 when K > 255); multilabel models: K×H×W of 0/1.
    labels
        The classes.
    image
        The H×W×C image that was labelled.
    probabilities
        K×H×W float32, or None when they were not asked for.
    """

    mask: np.ndarray
    labels: LabelMap
    image: np.ndarray
    probabilities: np.ndarray | None = None

    def overlay(self, alpha: float = 0.5) -> np.ndarray:
        """The image with the classes' colours over it, H×W×3 uint8."""
        return overlay(self.image, self.mask, self.labels, alpha)

    def polygons(self, tolerance: float = 1.0, min_area: int = 1, background: bool = False) -> list[Region]:
        """Every connected region of every class: see :func:`~pixelwise.inference.polygons.find_regions`."""
        from pixelwise.inference.polygons import find_regions  # not every prediction needs the floor of data

        return find_regions(
            self.mask,
            self.labels,
            self.probabilities,
            tolerance=tolerance,
            min_area=min_area,
            background=background,
        )

    def save(self, path: str | Path) -> None:
        """Write the mask as a palette PNG of class ids (16-bit grey when K > 255)."""
        write_mask(path, self.mask, self.labels)


class Predictor(ABC):
    """What labels images: one model (:class:`Segmenter`), or several together (:class:`Ensemble`)."""

    @property
    @abstractmethod
    def labels(self) -> LabelMap:
        """The classes."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The model's name."""

    @property
    @abstractmethod
    def task(self) -> str:
        """What it labels: ``image`` or ``volume``."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """A sha256 of everything in the model that decides about its predictions."""

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """What runs the network."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What else decides about its predictions: JSON values by name."""

    @abstractmethod
    def predict(self, image: Source, probabilities: bool = False, tta: str | None = None) -> Segmentation:
        """Label every pixel of one image; ``tta`` overrides the model's own test-time augmentation."""

    @abstractmethod
    def pixels(self, image: Source) -> np.ndarray:
        """The H×W×C uint8 array that :meth:`predict` works on, from an array or an image file."""

    def predict_many(self, images: Iterable[Source]) -> Iterator[Segmentation]:
        """Label many images in order; the next ones are read while one is computed."""
        with ThreadPoolExecutor(1) as reader:
            for _, pixels in read_ahead(reader, self.pixels, images):
                if isinstance(pixels, DataError):
                    raise pixels
                yield self.predict(pixels)

    def predict_video(
        self, source: str | Path | Iterable[np.ndarray], schedule: str = "every"
    ) -> Iterator[Segmentation]:
        """Label a video file, or frames given as H×W×3 uint8 RGB arrays, one frame at a time.

        ``schedule="every"`` runs the whole network on every frame.
        """
        if schedule != "every":
            raise unknown_name("schedule", schedule, ("every",))
        frames = (f for _, f in read_video(source)) if isinstance(source, str | Path) else source
        return self.predict_many(frames)


class Segmenter(Predictor):
    """A bundle with an engine.

    Parameters
    ----------
    bundle
        The opened bundle.
    engine, precision, device
        See :func:`~pixelwise.inference.engines.create_engine`; or an engine that is there already.
    scale
        ``working``: look at images at the size the model was trained for; ``native``: at their own.
    tile
        (height, width) of the tiles that large images are cut into, (depth, height, width) of volumes; None
        lets the bundle decide.
    tta
        Test-time augmentation: ``none``, ``flip``, ``d4``, ``scales=0.75:1:1.25``, or ``flip,scales=...``,
        as told by :func:`~pixelwise.inference.tta.parse_tta`.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: str | Engine = "auto",
        precision: str = "auto",
        device: str = "auto",
        scale: Scale = "working",
        tile: tuple[int, ...] | None = None,
        tta: str = "none",
    ) -> None:
        if scale not in ("working", "native"):
            raise unknown_name("scale", scale, ("working", "native"))
        volumes = bundle.manifest.task == "volume"
        axes, smallest = (3, SMALLEST_VOLUME) if volumes else (2, SMALLEST)
        if tile is not None and (len(tile) != axes or min(tile) < smallest):
            found = "x".join(map(str, tile if volumes else tile[::-1]))
            raise UsageError(f"tiles must be at least {smallest} px on each of {axes} sides, found {found}")
        self.views = parse_tta(tta)
        if volumes and not self.views.plain:
            raise UsageError(
                f"test-time augmentation is for images, but '{bundle.manifest.name}' labels volumes"
            )
        self.bundle = bundle
        # The engine starts in native code; meanwhile Python can load the kernel that decides between classes.
        Thread(target=_load_kernel, name="load kernel", daemon=True).start()
        if isinstance(engine, str):
            engine = create_engine(bundle, engine, precision, device)
        self._engine = engine
        self.scale = scale
        self.tile = tile

    @property
    def labels(self) -> LabelMap:
        """The model's classes."""
        return self.bundle.labels

    @property
    def name(self) -> str:
        """The model's name."""
        return self.bundle.manifest.name

    @property
    def task(self) -> str:
        """What it labels: ``image`` or ``volume``."""
        return self.bundle.manifest.task

    @property
    def identity(self) -> str:
        """A sha256 of everything in the bundle that decides about predictions, not of its name or metrics."""
        deciding = {"task", "labels", "head", "in_channels", "window", "volumes", "working", "sha256"}
        described = self.bundle.manifest.model_dump(mode="json", include=deciding)
        if self.engine.precision == "int8" and self.bundle.manifest.int8 is not None:
            described["int8"] = self.bundle.manifest.int8.sha256
        text = json.dumps(described, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def engine(self) -> Engine:
        """What runs the network."""
        return self._engine

    @property
    def settings(self) -> dict[str, Any]:
        """Engine, precision, device, scale, tile and test-time augmentation: JSON values by name."""
        tile = None if self.tile is None else list(self.tile)
        engine = self.engine
        how = {"engine": engine.name, "precision": engine.precision, "device": engine.device}
        return {**how, "scale": self.scale, "tile": tile, "tta": self.views.text}

    def predict(self, image: Source, probabilities: bool = False, tta: str | None = None) -> Segmentation:
        """Label every pixel of one image.

        Parameters
        ----------
        image
            H×W×3 uint8 RGB (H×W grey is taken too), or the path of an image file.
        probabilities
            Also return K×H×W float32: softmax over the classes (sigmoids for binary and multilabel).
        tta
            Test-time augmentation of this image; None takes the Segmenter's.

        Raises
        ------
        DataError
            The file cannot be read, or the array is not H×W×C uint8.
        UsageError
            Unknown test-time augmentation.
        """
        views = self.views if tta is None else parse_tta(tta)
        pixels = self.pixels(image)
        head = self.bundle.manifest.head
        if probabilities or head == "multilabel":
            return segmentation_from(self.logits(pixels, tta), head, self.labels, pixels, probabilities)
        height, width = pixels.shape[:2]
        working = self.working_size(height, width)
        tile = self.tile_for(*working)
        if tile is None and working == (height, width) and min(working) >= SMALLEST and views.plain:
            mask = self.engine.run(pixels[None], "labels")[0].astype(self.labels.dtype)
        elif tile is None or working != (height, width):
            mask = self._decide(self._logits(pixels, working, tile, views), (height, width))
        else:
            mask = np.empty((height, width), self.labels.dtype)
            for top, band in self._bands(pixels, tile, views):
                mask[top : top + band.shape[1]] = self._decide(band, band.shape[1:])
        return Segmentation(mask, self.labels, pixels)

    def logits(self, image: Source, tta: str | None = None) -> np.ndarray:
        """K×H×W float32 logits at the image's size; with augmentation, of the averaged probabilities."""
        views = self.views if tta is None else parse_tta(tta)
        pixels = self.pixels(image)
        size = (pixels.shape[0], pixels.shape[1])
        working = self.working_size(*size)
        return upsample_logits(self._logits(pixels, working, self.tile_for(*working), views), size)

    def predict_volume(self, volume: Volume) -> Volume:
        """Label every voxel of a volume, in overlapping tiles at its own scale.

        Parameters
        ----------
        volume
            Intensities as the model was trained on (CT: Hounsfield units); the model has its window.

        Returns
        -------
        Volume
            The same with ``mask``: X×Y×Z class ids; multilabel models: K×X×Y×Z of 0/1.

        Raises
        ------
        UsageError
            The model is for images.
        DataError
            The array is not X×Y×Z (×C) with as many channels as the model takes.
        """
        manifest = self.bundle.manifest
        if manifest.task != "volume":
            raise UsageError(f"'{self.name}' labels images, not volumes; use predict()")
        voxels = volume.array[..., None] if volume.array.ndim == 3 else volume.array
        if voxels.ndim != 4 or voxels.shape[3] != manifest.in_channels or voxels.size == 0:
            raise DataError(
                f"{volume.path or 'volume'}: expected X×Y×Z voxels of {manifest.in_channels} channel(s), "
                f"found an array of shape {volume.array.shape}"
            )
        from pixelwise.inference.volumes import label_voxels  # not before: it builds on this class

        return replace(volume, mask=label_voxels(self, voxels))

    def pixels(self, image: Source) -> np.ndarray:
        """The H×W×C uint8 array that :meth:`predict` works on, from an array or an image file."""
        if self.task != "image":
            raise UsageError(f"'{self.name}' labels volumes, not images; use predict_volume()")
        channels = self.bundle.manifest.in_channels
        pixels = image if isinstance(image, np.ndarray) else read_image(image)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], channels, axis=2)
        if pixels.ndim != 3 or pixels.dtype != np.uint8 or pixels.shape[2] != channels or pixels.size == 0:
            raise DataError(
                f"expected an image of HxWx{channels} uint8, found {pixels.dtype} of shape {pixels.shape}; "
                "scale other ranges to 0..255 first"
            )
        return np.ascontiguousarray(pixels)

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) at which the model looks at an image of this size."""
        if self.scale == "native":
            return height, width
        return self.bundle.manifest.working.size_for(height, width)

    def tile_for(self, height: int, width: int) -> tuple[int, int] | None:
        """The tile size, or None when the working image goes through whole."""
        rule = self.bundle.manifest.working
        if self.tile is not None:
            tile = (self.tile[0], self.tile[1])
        elif rule.rule == "native":
            tile = (rule.height, rule.width)
        elif height * width > _LARGEST_WHOLE:
            tile = (1024, 1024)
        else:
            return None
        return None if height <= tile[0] and width <= tile[1] else tile

    def _logits(
        self, pixels: np.ndarray, size: tuple[int, int], tile: tuple[int, int] | None, views: Views
    ) -> np.ndarray:
        """K×h×w float32 logits of ``pixels`` at the size (h, w)."""
        if tile is None:
            return average_views(pixels, size, self.whole_logits, views, self.bundle.manifest.head)
        bands = self._bands(resize_image(pixels, size), tile, views)
        return np.concatenate([band for _, band in bands], axis=1)

    def _bands(
        self, pixels: np.ndarray, tile: tuple[int, int], views: Views
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Finished bands of an image in tiles, each of which is looked at in all views."""

        def logits_of(part: np.ndarray) -> np.ndarray:
            size = (part.shape[0], part.shape[1])
            return average_views(part, size, self.whole_logits, views, self.bundle.manifest.head)

        return blend_tiles(pixels, tile, logits_of)

    def whole_logits(self, pixels: np.ndarray) -> np.ndarray:
        """K×h×w float32 logits of h×w×C pixels that the network sees in one piece, at their own size."""
        return padded_logits(pixels, lambda padded: self.engine.run(padded[None], "logits")[0])

    def _decide(self, logits: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        return upsample_argmax(np.ascontiguousarray(logits), (size[0], size[1])).astype(self.labels.dtype)


def _load_kernel() -> None:
    upsample_argmax(np.zeros((2, 1, 1), np.float32), (1, 1))


def segmentation_from(
    logits: np.ndarray, head: str, labels: LabelMap, pixels: np.ndarray, probabilities: bool
) -> Segmentation:
    """What K×H×W logits at the image's size say, with their probabilities if wanted."""
    if head == "multilabel":
        mask = (logits > 0).astype(np.uint8)
    else:
        mask = upsample_argmax(logits, (logits.shape[1], logits.shape[2])).astype(labels.dtype)
    return Segmentation(mask, labels, pixels, probabilities_of(logits, head) if probabilities else None)
