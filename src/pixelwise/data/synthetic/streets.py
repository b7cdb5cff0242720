"""Streets as samples, clips and data sets: what users of the synthetic data call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from pixelwise import io
from pixelwise.data.synthetic.classes import STREET_LABELS
from pixelwise.data.synthetic.ground import lane_polylines
from pixelwise.data.synthetic.render import Picture, render
from pixelwise.data.synthetic.scene import build_scene
from pixelwise.errors import DataError, UsageError
from pixelwise.labels import LabelMap
from pixelwise.sample import Clip, Dataset, Sample

Size = tuple[int, int]

DEMO_SPLITS = {"train": 240, "val": 40, "test": 60}
"""Number of images in each split of the demo set."""


def street(seed: int, size: Size = (360, 480), *, noise: float = 1.0) -> Sample:
    """One picture of a random street.

    Parameters
    ----------
    seed
        The same seed and size give the same bytes.
    size
        Height and width in pixels, any of at least 16.
    noise
        Scale of rain, sensor noise and JPEG compression; 0 gives a clean picture.

    Returns
    -------
    Sample
        ``image`` H×W×3 uint8, ``mask`` H×W uint8 with every pixel labelled, ``instances`` H×W int32, and
        ``meta["lanes"]``: a list of N×2 float32 polylines (pixels, corner origin), from near to far.

    Examples
    --------
    >>> sample = street(3, size=(60, 80))
    >>> sample.image.shape, sample.mask.dtype, sample.meta["seed"]
    ((60, 80, 3), dtype('uint8'), 3)
    """
    return _sample(seed, _checked(size), noise=noise, seed_parts=(seed,))


def street_clip(
    seed: int, frames: int = 30, size: Size = (360, 480), rate: float = 15.0, *, noise: float = 1.0
) -> Clip:
    """A ride along a random street, with masks, instances and exact optical flow.

    Frames are painted when they are touched. ``flow[t]`` (t >= 1) is H×W×2 float32, dx and dy in pixels from
    frame t to frame t - 1: a point at (x, y) in frame t was at (x + dx, y + dy) one frame earlier.
    ``meta["lanes"][t]`` are the lane polylines of frame t.

    Parameters
    ----------
    seed
        The same arguments give the same bytes.
    frames
        How many.
    size
        Height and width in pixels.
    rate
        Frames per second.
    noise
        As for :func:`street`.

    Examples
    --------
    >>> clip = street_clip(1, frames=3, size=(60, 80))
    >>> len(clip), sorted(clip.flow), clip.flow[1]().shape
    (3, [1, 2], (60, 80, 2))
    """
    size = _checked(size)
    if frames < 1 or rate <= 0:
        raise UsageError(f"a clip needs at least one frame and a positive rate, got {frames} at {rate}")
    scene = build_scene(np.random.default_rng([seed]), size, frames / rate)

    @lru_cache(maxsize=2)
    def picture(number: int) -> Picture:
        return render(
            scene,
            size,
            np.random.default_rng([seed, number]),
            time=number / rate,
            before=(number - 1) / rate if number else None,
            noise=noise,
        )

    def lazily(name: str, number: int) -> Callable[[], np.ndarray]:
        return lambda: getattr(picture(number), name)

    numbers = range(frames)
    cameras = (scene.mount.camera(scene.road, number / rate, size) for number in numbers)
    lanes = [lane_polylines(scene.road, camera) for camera in cameras]
    return Clip(
        frames=[lazily("image", number) for number in numbers],
        times=[number / rate for number in numbers],
        masks={number: lazily("mask", number) for number in numbers},
        instances={number: lazily("instances", number) for number in numbers},
        flow={number: lazily("flow", number) for number in numbers[1:]},
        meta={"split": None, "seed": seed, "lanes": lanes},
    )


def street_dataset(
    count: int,
    *,
    seed: int = 0,
    size: Size = (360, 480),
    splits: Mapping[str, int] | Sequence[str] | None = None,
) -> Dataset[Sample]:
    """A data set of ``count`` streets, each painted when it is opened.

    Parameters
    ----------
    count
        How many.
    seed
        Sample i depends on (seed, i) and the size only.
    size
        Height and width in pixels.
    splits
        The split of every sample; or the number of samples in each, in order; or None.

    Raises
    ------
    UsageError
        The splits do not add up to ``count``.

    Examples
    --------
    >>> data = street_dataset(3, size=(60, 80), splits={"train": 2, "val": 1})
    >>> data.splits, len(data.select("train")), data[2].meta["split"]
    (('train', 'val'), 2, 'val')
    """
    size = _checked(size)
    names: list[str] | None = None
    if isinstance(splits, Mapping):
        names = [name for name, number in splits.items() for _ in range(number)]
    elif splits is not None:
        names = list(splits)
    if names is not None and len(names) != count:
        raise UsageError(f"the splits hold {len(names)} samples, but {count} were asked for; make them equal")
    records = [(index, None if names is None else names[index]) for index in range(count)]
    return Dataset(records, partial(_open, seed=seed, size=size), STREET_LABELS, name="street", splits=names)


def demo_dataset(size: Size = (360, 480)) -> Dataset[Sample]:
    """The fixed demo set: 240 streets to train on, 40 to validate, 60 to test, seed 0.

    >>> demo_dataset()
    Dataset('street', 340 samples, 11 classes, splits=train/val/test)
    """
    return street_dataset(sum(DEMO_SPLITS.values()), seed=0, size=size, splits=DEMO_SPLITS)


def write_street(
    folder: str | Path, dataset: Dataset[Sample], progress: Callable[[int], None] | None = None
) -> None:
    """Write a data set as a folder of images and palette masks.

    ``images/{split}/street_0001.jpg`` (JPEG, quality 92), ``masks/{split}/street_0001.png`` and
    ``classes.txt`` with one ``name,r,g,b`` a line; without splits there are no split folders.
    ``progress`` is called with the number of samples that are done.

    Raises
    ------
    DataError
        A sample has no mask.
    """
    folder = Path(folder)
    for number, sample in enumerate(dataset, start=1):
        if sample.mask is None:
            raise DataError(
                f"sample {number} of {dataset.name} has no mask; only labelled data can be written"
            )
        split = sample.meta.get("split") or ""
        io.write_image(folder / "images" / split / f"street_{number:04d}.jpg", sample.image)
        io.write_mask(folder / "masks" / split / f"street_{number:04d}.png", sample.mask, dataset.labels)
        if progress is not None:
            progress(number)
    io.write_text(folder / "classes.txt", _class_lines(dataset.labels))


def _class_lines(labels: LabelMap) -> str:
    rows = zip(labels.names, labels.colours, strict=True)
    return "".join(f"{name},{red},{green},{blue}\n" for name, (red, green, blue) in rows)


def _open(record: tuple[int, str | None], *, seed: int, size: Size) -> Sample:
    index, split = record
    sample = _sample(seed, size, noise=1.0, seed_parts=(seed, index))
    return sample.replace(meta=sample.meta | {"split": split, "name": f"street_{index + 1:04d}"})


def _sample(seed: int, size: Size, *, noise: float, seed_parts: tuple[int, ...]) -> Sample:
    rng = np.random.default_rng(seed_parts)
    picture = render(build_scene(rng, size), size, rng, noise=noise)
    return Sample(
        picture.image,
        picture.mask,
        instances=picture.instances,
        meta={"split": None, "seed": seed, "lanes": picture.lanes},
    )


def _checked(size: Size) -> Size:
    height, width = int(size[0]), int(size[1])
    if min(height, width) < 16:
        raise UsageError(f"a street needs at least 16x16 pixels, got {height}x{width}; ask for a larger size")
    return height, width
