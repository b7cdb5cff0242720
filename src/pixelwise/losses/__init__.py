"""Losses by name, and weighted sums of them by text. Importing this needs no torch."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import TYPE_CHECKING, Any

from pixelwise.errors import MissingExtraError, UsageError, unknown_name

if TYPE_CHECKING:
    from pixelwise.losses.base import Loss

__all__ = ["LOSSES", "create"]

LOSSES: dict[str, str] = {
    "cross_entropy": "cross_entropy:CrossEntropy",
}
"""Loss name -> "module:Class" below ``pixelwise.losses``; a new one is a new entry."""

_TERM = re.compile(r"(?:(?P<factor>\d+\.?\d*|\.\d+)\s*\*\s*)?(?P<name>[A-Za-z_]\w*)")


def create(text: str, **options: Any) -> Loss:
    """Build a loss from its name, or a sum from text such as ``"cross_entropy + 0.5*dice"``.

    Every loss is called as ``loss(logits, target, weight=None)`` and returns a scalar.

    Parameters
    ----------
    text
        A loss name, or terms ``name`` or ``factor*name`` joined by ``+``.
    options
        Arguments of the loss. In a sum, each goes to every term that knows it.

    Raises
    ------
    UsageError
        The text is no such sum, or a name or option is unknown (the nearest is suggested).
    MissingExtraError
        torch is not installed.

    Examples
    --------
    >>> import torch
    >>> loss = create("0.5*cross_entropy", ignore_index=255)
    >>> loss(torch.zeros(1, 2, 4, 4), torch.ones(1, 4, 4, dtype=torch.long))
    tensor(0.3466)
    """
    terms = _parse(text)
    classes = {name: _load_class(LOSSES[name]) for _, name in terms}
    known = {name: [*inspect.signature(cls).parameters] for name, cls in classes.items()}
    for option in options:
        if not any(option in names for names in known.values()):
            raise unknown_name(f"option of '{text}'", option, {n for names in known.values() for n in names})
    parts = [
        (factor, classes[name](**{key: value for key, value in options.items() if key in known[name]}))
        for factor, name in terms
    ]
    if len(parts) == 1 and parts[0][0] == 1.0:
        return parts[0][1]
    from pixelwise.losses.base import WeightedSum

    return WeightedSum(parts)


def _parse(text: str) -> list[tuple[float, str]]:
    """The terms of a sum as (factor, name)."""
    terms: list[tuple[float, str]] = []
    for part in text.split("+"):
        match = _TERM.fullmatch(part.strip())
        if match is None:
            raise UsageError(
                f"'{text}' is not a sum of losses; write names joined by +, as 'cross_entropy + 0.5*dice'"
            )
        if match["name"] not in LOSSES:
            raise unknown_name("loss", match["name"], LOSSES)
        terms.append((float(match["factor"] or 1.0), match["name"]))
    return terms


def _load_class(home: str) -> type[Loss]:
    module, _, name = home.partition(":")
    try:
        loss: type[Loss] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "torch":
            raise MissingExtraError("computing a loss", "train") from None
        raise
    return loss
