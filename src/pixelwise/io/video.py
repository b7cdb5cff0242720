"""Video files as frames, and frames as video files (OpenCV; H.264 comes with the video work)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from pixelwise.errors import DataError, PixelwiseError
from pixelwise.io.atomic import atomic_write

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})
"""File suffixes (lower case) that are taken for video."""


def read_video(path: str | Path) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (seconds, H×W×3 uint8 RGB) for every frame, one at a time.

    Raises
    ------
    DataError
        The file is missing, or holds no frame that can be decoded.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such video")
    capture = cv2.VideoCapture(str(path))
    number = 0
    try:
        rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            yield number / rate, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            number += 1
    finally:
        capture.release()
    if number == 0:
        raise DataError(f"{path}: no frame can be decoded; convert it to MP4 (H.264) and try again")


def read_frame(path: str | Path, number: int) -> np.ndarray:
    """One frame, counted from 0: H×W×3 uint8 RGB.

    Raises
    ------
    DataError
        The file is missing, or has no such frame.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such video")
    capture = cv2.VideoCapture(str(path))
    try:
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        ok, frame = capture.read()
    finally:
        capture.release()
    if not ok:
        raise DataError(f"{path}: frame {number} cannot be decoded; is the video shorter?")
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def frame_rate(path: str | Path) -> float:
    """Frames per second as the file says, 25 when it does not."""
    capture = cv2.VideoCapture(str(path))
    try:
        return capture.get(cv2.CAP_PROP_FPS) or 25.0
    finally:
        capture.release()


def write_video(path: str | Path, frames: Iterable[np.ndarray], rate: float = 25.0) -> int:
    """Write H×W×3 uint8 RGB frames of one size as MPEG-4 (``.mp4``) or MJPEG (``.avi``); returns how many."""
    code = "MJPG" if Path(path).suffix.lower() == ".avi" else "mp4v"
    count = 0
    writer = None
    with atomic_write(path) as temporary:
        for frame in frames:
            if writer is None:
                size = (frame.shape[1], frame.shape[0])
                writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*code), rate, size)
                if not writer.isOpened():
                    raise PixelwiseError(f"{path}: OpenCV cannot write {code} video here; use a .avi name")
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            count += 1
        if writer is not None:
            writer.release()
            written = _count_frames(temporary)
            if written != count:  # OpenCV reports no error while writing, not even a full disk
                raise PixelwiseError(
                    f"cannot write {path}: only {written} of {count} frames are in it; disk full?"
                )
    return count


def _count_frames(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
