"""Eight float32 at a time, spelled out for numba: the loads, stores and sums of the lattice's inner loops.

LLVM turns a plain loop into vector instructions only when it can prove that its arrays do not overlap. In a
loop that adds to rows of a table whose numbers come from another array it cannot, and the loop runs three
times slower. The few operations here leave it no choice: each becomes one vector instruction (two on
machines with vectors of four). Arrays are flat and contiguous; an index is that of the first of the eight.

To be called from ``@njit`` functions only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

WIDTH = 8

_operation: Any = intrinsic  # a type checker would take the typing context for an argument of every call

_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_VECTOR, _INTEGERS = ir.VectorType(_FLOAT, WIDTH), ir.VectorType(_INT, WIDTH)


class Vector(types.Type):
    """Numba's type of eight float32 in a register."""

    def __init__(self) -> None:
        super().__init__(name="Vector8")


vector = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _VECTOR)


def padded(channels: int) -> int:
    """The row length that holds so many channels in whole vectors.

    >>> padded(21)
    24
    """
    return -(-channels // WIDTH) * WIDTH


@_operation
def item(typing_context, array, index):  # type: ignore[no-untyped-def]
    """``array[index]`` for an index that is not negative, without numba's test for that."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load(_place(context, builder, signature.args[0], *arguments))

    return array.dtype(array, types.intp), generate


@_operation
def load(typing_context, array, index):  # type: ignore[no-untyped-def]
    """``array[index : index + 8]``."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature.args[0], *arguments)
        return builder.load(builder.bitcast(place, _VECTOR.as_pointer()), align=4)

    return vector(array, types.intp), generate


@_operation
def store(typing_context, array, index, value):  # type: ignore[no-untyped-def]
    """``array[index : index + 8] = value``."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], builder.bitcast(place, _VECTOR.as_pointer()), align=4)

    return types.void(array, types.intp, vector), generate


@_operation
def prefetch(typing_context, array, index):  # type: ignore[no-untyped-def]
    """Ask for the cache line of ``array[index]`` early; an index beyond the end does no harm."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = builder.bitcast(
            _place(context, builder, signature.args[0], *arguments), ir.IntType(8).as_pointer()
        )
        kind = ir.FunctionType(ir.VoidType(), [place.type, _INT, _INT, _INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        to_write, keep_close, data = ir.Constant(_INT, 1), ir.Constant(_INT, 3), ir.Constant(_INT, 1)
        builder.call(function, [place, to_write, keep_close, data])

    return types.void(array, types.intp), generate


@_operation
def broadcast(typing_context, number):  # type: ignore[no-untyped-def]
    """Eight times the same number."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), arguments[0], ir.Constant(_INT, 0))
        everywhere = ir.Constant(_INTEGERS, [0] * WIDTH)
        return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), everywhere)

    return vector(types.float32), generate


@_operation
def add(typing_context, a, b):  # type: ignore[no-untyped-def]
    """``a + b``."""
    return vector(vector, vector), lambda context, builder, signature, arguments: builder.fadd(*arguments)


@_operation
def subtract(typing_context, a, b):  # type: ignore[no-untyped-def]
    """``a - b``."""
    return vector(vector, vector), lambda context, builder, signature, arguments: builder.fsub(*arguments)


@_operation
def multiply(typing_context, a, b):  # type: ignore[no-untyped-def]
    """``a * b``."""
    return vector(vector, vector), lambda context, builder, signature, arguments: builder.fmul(*arguments)


@_operation
def multiply_add(typing_context, a, b, c):  # type: ignore[no-untyped-def]
    """``a * b + c``."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _call(builder, "llvm.fmuladd.v8f32", *arguments)

    return vector(vector, vector, vector), generate


@_operation
def larger(typing_context, a, b):  # type: ignore[no-untyped-def]
    """The larger of each pair."""
    return vector(vector, vector), lambda context, builder, signature, arguments: _larger(builder, *arguments)


@_operation
def less(typing_context, a, b):  # type: ignore[no-untyped-def]
    """1 where a is less than b, 0 elsewhere."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.select(builder.fcmp_ordered("<", *arguments), _same(1.0), _same(0.0))

    return vector(vector, vector), generate


@_operation
def rounded(typing_context, a):  # type: ignore[no-untyped-def]
    """The nearest whole numbers, as floats; the even one from half way."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _call(builder, "llvm.rint.v8f32", *arguments)

    return vector(vector), generate


@_operation
def exponential(typing_context, x):  # type: ignore[no-untyped-def]
    """``exp(x)`` for x up to 87, to two units in the last place; 0 below -64.

    A softmax's smaller parts would turn into denormal numbers when they are multiplied by weights, and every
    operation on one of those costs a hundred cycles.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        # exp(x) = 2^n exp(r) with |r| <= ln(2) / 2; ln(2) in two parts keeps r exact.
        enough = builder.fcmp_ordered(">", arguments[0], _same(-64.0))
        x = builder.select(enough, arguments[0], _same(0.0))
        n = _call(builder, "llvm.rint.v8f32", builder.fmul(x, _same(1 / math.log(2))))
        r = _call(builder, "llvm.fmuladd.v8f32", n, _same(-0.693359375), x)
        r = _call(builder, "llvm.fmuladd.v8f32", n, _same(0.693359375 - math.log(2)), r)
        result = _same(1 / math.factorial(6))
        for power in range(5, -1, -1):
            result = _call(builder, "llvm.fmuladd.v8f32", result, r, _same(1 / math.factorial(power)))
        exponent = builder.add(builder.fptosi(n, _INTEGERS), ir.Constant(_INTEGERS, [127] * WIDTH))
        scale = builder.bitcast(builder.shl(exponent, ir.Constant(_INTEGERS, [23] * WIDTH)), _VECTOR)
        return builder.select(enough, builder.fmul(result, scale), _same(0.0))

    return vector(vector), generate


@_operation
def largest(typing_context, a):  # type: ignore[no-untyped-def]
    """The largest of the eight, as a number."""
    return types.float32(vector), _folded(lambda builder, a, b: _larger(builder, a, b))


@_operation
def total(typing_context, a):  # type: ignore[no-untyped-def]
    """The sum of the eight, as a number."""
    return types.float32(vector), _folded(lambda builder, a, b: builder.fadd(a, b))


def _folded(combine: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any, Any], Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = arguments[0]
        for distance in (4, 2, 1):
            order = ir.Constant(_INTEGERS, [(lane + distance) % WIDTH for lane in range(WIDTH)])
            value = combine(builder, value, builder.shuffle_vector(value, value, order))
        return builder.extract_element(value, ir.Constant(_INT, 0))

    return generate


def _place(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _call(builder: Any, name: str, *arguments: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(arguments))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _same(number: float) -> Any:
    return ir.Constant(_VECTOR, [ir.Constant(_FLOAT, number)] * WIDTH)
