"""Losses by name, and weighted sums of them by text. Importing this needs no torch."""

from __future__ import annotations

import ast
import importlib
import inspect
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from pixelwise.errors import MissingExtraError, UsageError, unknown_name
from pixelwise.losses.balance import median_frequency_weights

if TYPE_CHECKING:
    from pixelwise.losses.base import Loss

__all__ = ["LOSSES", "create", "median_frequency_weights"]

LOSSES: dict[str, str] = {
    "cross_entropy": "cross_entropy:CrossEntropy",
    "focal": "focal:Focal",
    "dice": "dice:Dice",
    "iou": "iou:IoU",
    "tversky": "tversky:Tversky",
    "lovasz": "lovasz:Lovasz",
    "unet_weighted": "unet_weighted:UNetWeighted",
    "hausdorff": "hausdorff:Hausdorff",
    "boundary": "boundary:Boundary",
}
"""Loss name -> "module:Class" below ``pixelwise.losses``; a new one is a new entry."""


class _Term(NamedTuple):
    factor: float
    name: str
    options: dict[str, Any]


def create(text: str, **options: Any) -> Loss:
    """Build a loss from its name, or a sum from text such as ``"cross_entropy + 0.5*dice"``.

    Every loss is called as ``loss(logits, target, weight=None)`` and returns a scalar.

    Parameters
    ----------
    text
        A loss name, or terms ``name``, ``name(option=value, ...)`` and ``factor*term`` joined by ``+``.
        Values are written as in Python; words need no quotes.
    options
        Arguments of the loss. In a sum, each goes to every term that knows it and does not set it itself.

    Raises
    ------
    UsageError
        The text is no such sum, a name or option is unknown (the nearest is suggested), or a value is of the
        wrong type.
    MissingExtraError
        torch is not installed.

    Examples
    --------
    >>> import torch
    >>> loss = create("0.5*cross_entropy", ignore_index=255)
    >>> loss(torch.zeros(1, 2, 4, 4), torch.ones(1, 4, 4, dtype=torch.long))
    tensor(0.3466)
    >>> loss = create("0.5*tversky(alpha=0.3, beta=0.7) + cross_entropy(hard_threshold=0.7)")
    """
    terms = _parse(text)
    classes = {term.name: _load_class(LOSSES[term.name]) for term in terms}
    known = {name: _options(cls) for name, cls in classes.items()}
    for option in options:
        if not any(option in names for names in known.values()):
            raise unknown_name(f"option of '{text}'", option, {n for names in known.values() for n in names})
    parts = []
    for factor, name, own in terms:
        given = {key: value for key, value in options.items() if key in known[name]} | own
        for option, value in given.items():
            if option not in known[name]:
                raise unknown_name(f"option of '{name}'", option, known[name])
            _check_value(name, option, value, known[name][option])
        parts.append((factor, classes[name](**given)))
    if len(parts) == 1 and parts[0][0] == 1.0:
        return parts[0][1]
    from pixelwise.losses.base import WeightedSum

    return WeightedSum(parts)


def _parse(text: str) -> list[_Term]:
    """The terms of a sum. Such text is a Python expression too, so Python's own parser reads it."""
    try:
        return _terms(ast.parse(" ".join(text.split()), mode="eval").body)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        raise UsageError(
            f"'{text}' is not a sum of losses; write terms joined by +, "
            "as 'cross_entropy + 0.5*dice' or 'tversky(alpha=0.3, beta=0.7)'"
        ) from None


def _terms(node: ast.expr) -> list[_Term]:
    """The terms below a node; ValueError where it is none."""
    match node:
        case ast.BinOp(left, ast.Add(), right):
            return _terms(left) + _terms(right)
        case ast.BinOp(ast.Constant(float() | int() as factor), ast.Mult(), ast.Name() | ast.Call() as right):
            if isinstance(factor, bool) or not math.isfinite(factor):
                raise ValueError
            (term,) = _terms(right)
            return [term._replace(factor=float(factor))]
        case ast.Name(name):
            options = {}
        case ast.Call(ast.Name(name), [], keywords):
            options = {keyword.arg: _value(keyword.value) for keyword in keywords if keyword.arg}
            if len(options) < len(keywords):  # one was given twice, or with **
                raise ValueError
        case _:
            raise ValueError
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    return [_Term(1.0, name, options)]


def _value(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def _options(loss: type[Loss]) -> dict[str, Any]:
    """What a loss takes, with types: parameters of its constructor and of those it passes the rest to."""
    found: dict[str, Any] = {}
    for cls in loss.__mro__:
        if "__init__" not in vars(cls):
            continue
        constructor = vars(cls)["__init__"]
        _, *parameters = inspect.signature(constructor).parameters.values()
        types = get_type_hints(constructor)
        rest = [parameter for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD]
        found |= {p.name: types.get(p.name, Any) for p in parameters if p not in rest}
        if not rest:
            break
    return found


def _check_value(loss: str, option: str, value: Any, kind: Any) -> None:
    from pydantic import TypeAdapter, ValidationError

    plain = value.tolist() if hasattr(value, "tolist") else value  # arrays and tensors are sequences too
    try:
        TypeAdapter(kind).validate_python(plain, strict=True)
    except ValidationError:
        expected = kind.__name__ if isinstance(kind, type) else str(kind).replace("collections.abc.", "")
        expected = re.sub(r"Sequence\[(\w+)\]", r"list of \1", expected).replace(" | ", " or ")
        raise UsageError(f"option '{option}' of '{loss}' must be {expected}, not {plain!r}") from None


def _load_class(home: str) -> type[Loss]:
    module, _, name = home.partition(":")
    try:
        loss: type[Loss] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "torch":
            raise MissingExtraError("computing a loss", "train") from None
        raise
    return loss
