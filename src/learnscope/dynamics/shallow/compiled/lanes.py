"""Arithmetic on vectors of the processor, written like arithmetic on numbers: each operator emits an instruction.

Numba leaves it to LLVM whether a loop becomes vector instructions and what stays in registers. The kernels of this
package do not: they are built from :class:`Lanes`, one vector register, and from :class:`Tile`, a few of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types

REGISTER_BYTES = 64 if llvm.get_host_cpu_features().get("avx512f", False) else 32
ROWS = 8  # vectors in a tile: enough independent sums to hide the latency of an addition

INTEGERS = {32: ir.IntType(32), 64: ir.IntType(64)}
MANTISSA = {32: 23, 64: 52}


def lanes_of(dtype: types.Float) -> int:
    """Return how many numbers of a type a vector holds."""
    return REGISTER_BYTES * 8 // dtype.bitwidth


def vector_type(dtype: types.Float) -> ir.VectorType:
    """Return LLVM's type of a vector of such numbers."""
    scalar = ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()
    return ir.VectorType(scalar, lanes_of(dtype))


class Lanes:
    """A vector in a register. Operators take other vectors, or numbers, which fill all lanes."""

    def __init__(self, builder: Any, dtype: types.Float, value: ir.Value) -> None:
        self.builder, self.dtype, self.value = builder, dtype, value

    def like(self, number: float) -> Lanes:
        """Return a vector full of one number."""
        kind = vector_type(self.dtype)
        return Lanes(self.builder, self.dtype, ir.Constant(kind, [ir.Constant(kind.element, number)] * kind.count))

    def _with(self, other: Lanes | float) -> ir.Value:
        return (other if isinstance(other, Lanes) else self.like(other)).value

    def _new(self, value: ir.Value) -> Lanes:
        return Lanes(self.builder, self.dtype, value)

    def __add__(self, other: Lanes | float) -> Lanes:
        return self._new(self.builder.fadd(self.value, self._with(other)))

    def __sub__(self, other: Lanes | float) -> Lanes:
        return self._new(self.builder.fsub(self.value, self._with(other)))

    def __rsub__(self, other: float) -> Lanes:
        return self.like(other) - self

    def __mul__(self, other: Lanes | float) -> Lanes:
        return self._new(self.builder.fmul(self.value, self._with(other)))

    def __truediv__(self, other: Lanes) -> Lanes:
        return self._new(self.builder.fdiv(self.value, other.value))

    def __rtruediv__(self, other: float) -> Lanes:
        return self.like(other) / self

    def times_plus(self, factor: Lanes | float, term: Lanes | float) -> Lanes:
        """Return self · factor + term, rounded once."""
        return self._call("llvm.fma", self._with(factor), self._with(term))

    def above(self, threshold: float, then: Lanes, otherwise: Lanes) -> Lanes:
        """Return in each lane ``then`` where self exceeds the threshold, and ``otherwise`` elsewhere."""
        mask = self.builder.fcmp_ordered(">", self.value, self._with(threshold))
        return self._new(self.builder.select(mask, then.value, otherwise.value))

    def between(self, low: float, high: float) -> Lanes:
        """Return self clamped."""
        raised = self.above(low, self, self.like(low))
        return raised.above(high, self.like(high), raised)

    def rounded(self) -> Lanes:
        """Return the nearest whole numbers."""
        return self._call("llvm.rint")

    def magnitude(self) -> Lanes:
        """Return absolute values."""
        return self._call("llvm.fabs")

    def with_sign_of(self, other: Lanes) -> Lanes:
        """Return self with the signs of another vector."""
        return self._call("llvm.copysign", other.value)

    def power_of_two(self) -> Lanes:
        """Return 2 to whole numbers, which have to be exponents of normal numbers: it is put together bit by bit."""
        bits = self.dtype.bitwidth
        mantissa, integers = MANTISSA[bits], ir.VectorType(INTEGERS[bits], lanes_of(self.dtype))
        whole = self.builder.fptosi(self.value, integers)
        one = (1 << (bits - 2 - mantissa)) - 1
        full = [ir.Constant(integers, [number] * integers.count) for number in (one, mantissa)]
        shifted = self.builder.shl(self.builder.add(whole, full[0]), full[1])
        return self._new(self.builder.bitcast(shifted, vector_type(self.dtype)))

    def polynomial(self, coefficients: Sequence[float]) -> Lanes:
        """Return Σ cₖ selfᵏ by Horner's rule, for coefficients from the constant one on."""
        total = self.like(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = total.times_plus(self, coefficient)
        return total

    def _call(self, name: str, *arguments: ir.Value) -> Lanes:
        kind = vector_type(self.dtype)
        suffix = f".v{kind.count}f{self.dtype.bitwidth}"
        function = ir.FunctionType(kind, [kind] * (1 + len(arguments)))
        declared = self.builder.module.globals.get(name + suffix) or ir.Function(
            self.builder.module, function, name + suffix
        )
        return self._new(self.builder.call(declared, [self.value, *arguments]))
