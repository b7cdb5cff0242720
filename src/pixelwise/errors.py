"""What can go wrong, said in one sentence: what, where, what was expected, what to do.

Every error that a user can cause derives from :class:`PixelwiseError`; the command line prints its
message (never a stack trace) and exits with its ``exit_code``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal


class PixelwiseError(Exception):
    """Something failed that is neither the caller's usage nor the data (exit code 1)."""

    exit_code = 1


class UsageError(PixelwiseError):
    """The call cannot be right: an unknown name, contradictory options (exit code 2)."""

    exit_code = 2


class DataError(PixelwiseError):
    """A file or a data set is not what it should be (exit code 3)."""

    exit_code = 3


class MissingExtraError(PixelwiseError):
    """A feature needs packages of an extra that is not installed.

    >>> str(MissingExtraError("training", "train"))
    "training needs the extra 'train': pip install 'pixelwise[train]'"
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra '{extra}': pip install 'pixelwise[{extra}]'")


@dataclass(frozen=True)
class Problem:
    """One finding about a data set: an ``error`` stops training, a ``warning`` is shown.

    ``files`` lists every file that it concerns; ``fix`` says what to do about it.
    """

    level: Literal["error", "warning"]
    code: str
    message: str
    fix: str = ""
    files: tuple[str, ...] = ()


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """An error for a name that does not exist, with the nearest one that does.

    >>> str(unknown_name("architecture", "unett", ["unet", "fcn8s"]))
    "unknown architecture 'unett': did you mean 'unet'? (known: fcn8s, unet)"
    """
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" did you mean '{nearest[0]}'?" if nearest else ""
    return UsageError(f"unknown {kind} '{name}':{hint} (known: {', '.join(known)})")


def shape_text(shape: Sequence[int]) -> str:
    """A shape for messages.

    >>> shape_text((480, 360)), shape_text(())
    ('480x360', 'a number')
    """
    return "x".join(map(str, shape)) or "a number"
