"""Tiles, a vector of neurons for each of a few examples, which stay in registers: what compiled code does with them."""

# ruff: noqa: ANN001, ANN201, ANN202 (Numba infers the types of what it compiles)
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from learnscope.dynamics.shallow.compiled import elementary
from learnscope.dynamics.shallow.compiled.emit import Emit
from learnscope.dynamics.shallow.compiled.lanes import ROWS, Lanes, lanes_of, vector_type

emitted: Any = intrinsic  # a function that is written in LLVM's language where it is called


class Tile(types.Type):
    """Numbers [ROWS, lanes]: one row for each example, one lane for each neuron."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"Tile({dtype})")


@register_model(Tile)
class TileModel(models.PrimitiveModel):
    """A tile is an array of vectors to LLVM, which takes it apart."""

    def __init__(self, manager: Any, kind: Tile) -> None:
        super().__init__(manager, kind, ir.ArrayType(vector_type(kind.dtype), ROWS))


@emitted
def lanes_for(typing_context, array):
    """Return how many lanes a vector of the array's numbers has."""

    def codegen(context, builder, signature, values):
        return ir.Constant(context.get_value_type(types.intp), lanes_of(array.dtype))

    return types.intp(array), codegen


@emitted
def zeros(typing_context, array):
    """Return a tile of zeros of the array's type."""

    def codegen(context, builder, signature, values):
        return ir.Constant(ir.ArrayType(vector_type(array.dtype), ROWS), None)

    return Tile(array.dtype)(array), codegen


@emitted
def repeated(typing_context, array, offset):
    """Return a tile with the lanes at ``array[offset:]`` in each row."""

    def codegen(context, builder, signature, values):
        emit = Emit(context, builder, array)
        row = emit.load(emit.pointer(array, values[0], values[1]))
        return emit.tile([row] * ROWS)

    return Tile(array.dtype)(array, types.intp), codegen


@emitted
def add_outer(typing_context, tile, neurons, at, examples, start):
    """Return tile[k, l] + examples[start + k] · neurons[at + l]."""

    def codegen(context, builder, signature, values):
        emit = Emit(context, builder, neurons)
        row = emit.load(emit.pointer(neurons, values[1], values[2]))
        column = emit.pointer(examples, values[3], values[4])
        rows = [row.times_plus(emit.fill(column, k), total) for k, total in enumerate(emit.rows(values[0]))]
        return emit.tile(rows)

    return tile(tile, neurons, types.intp, examples, types.intp), codegen


def _sum_of_products(pairs: Sequence[tuple[Lanes, Lanes]]) -> Lanes:
    """Return Σ a · b over pairs (a, b)."""
    (a, b), *others = pairs
    total = a * b
    for a, b in others:
        total = a.times_plus(b, total)
    return total


def _add_inner(count: int) -> Any:
    """Return a function that adds to a few rows of sums at once."""

    @emitted
    def added(typing_context, sums, at, tile, examples, start):
        def codegen(context, builder, signature, values):
            emit = Emit(context, builder, sums)
            step, lanes, rows = ir.IntType(64), lanes_of(sums.dtype), emit.rows(values[2])
            places = [emit.pointer(sums, values[0], builder.add(values[1], step(j * lanes))) for j in range(count)]
            columns = [emit.pointer(examples, values[3], builder.add(values[4], step(j * ROWS))) for j in range(count)]
            totals = [emit.load_sum(place) for place in places]
            for place, column, total in zip(places, columns, totals, strict=True):
                pairs = [(row, emit.fill(column, k)) for k, row in enumerate(rows)]
                emit.store_sum(total + _sum_of_products(pairs), place)
            return context.get_dummy_value()

        return types.void(sums, types.intp, tile, examples, types.intp), codegen

    added.__doc__ = (
        f"""Add Σ_k examples[start + j · ROWS + k] · tile[k, l] to ``sums[at + j · lanes + l]``, j < {count}."""
    )
    return added


add_inner, add_inner_of_two, add_inner_of_four = _add_inner(1), _add_inner(2), _add_inner(4)


@emitted
def filled(typing_context, array, offset):
    """Return a tile whose row k is full of ``array[offset + k]``."""

    def codegen(context, builder, signature, values):
        emit = Emit(context, builder, array)
        column = emit.pointer(array, values[0], values[1])
        return emit.tile([emit.fill(column, k) for k in range(ROWS)])

    return Tile(array.dtype)(array, types.intp), codegen


@emitted
def add_sums(typing_context, sums, at, tile):
    """Add Σ_k tile[k, l] to ``sums[at + l]``."""

    def codegen(context, builder, signature, values):
        emit = Emit(context, builder, sums)
        place, rows = emit.pointer(sums, values[0], values[1]), emit.rows(values[2])
        while len(rows) > 1:
            rows = [rows[k] + rows[k + 1] for k in range(0, len(rows), 2)]
        emit.store_sum(emit.load_sum(place) + rows[0], place)
        return context.get_dummy_value()

    return types.void(sums, types.intp, tile), codegen


@emitted
def add_sums_of_products(typing_context, sums, at, tile, other):
    """Add Σ_k tile[k, l] · other[k, l] to ``sums[at + l]``."""

    def codegen(context, builder, signature, values):
        emit = Emit(context, builder, sums)
        place = emit.pointer(sums, values[0], values[1])
        pairs = list(zip(emit.rows(values[2]), emit.rows(values[3]), strict=True))
        emit.store_sum(emit.load_sum(place) + _sum_of_products(pairs), place)
        return context.get_dummy_value()

    return types.void(sums, types.intp, tile, other), codegen


@emitted
def clear_row(typing_context, sums, at):
    """Set ``sums[at + l]`` to 0."""

    def codegen(context, builder, signature, values):
        emit = Emit(context, builder, sums)
        zero = Lanes(builder, sums.dtype, ir.Constant(vector_type(sums.dtype), None))
        emit.store_sum(zero, emit.pointer(sums, values[0], values[1]))
        return context.get_dummy_value()

    return types.void(sums, types.intp), codegen


@emitted
def scale_row(typing_context, sums, at, number, factors, start):
    """Multiply ``sums[at + l]`` by number · ``factors[start + l]``."""

    def codegen(context, builder, signature, values):
        emit = Emit(context, builder, sums)
        place, factor = emit.pointer(sums, values[0], values[1]), emit.pointer(factors, values[3], values[4])
        emit.store_sum(emit.load_sum(place) * (emit.spread(values[2]) * emit.load(factor)), place)
        return context.get_dummy_value()

    return types.void(sums, types.intp, sums.dtype, factors, types.intp), codegen


@emitted
def product(typing_context, tile, other):
    """Return tile[k, l] · other[k, l]."""

    def codegen(context, builder, signature, values):
        emit = Emit(context, builder, tile)
        return emit.tile([a * b for a, b in zip(emit.rows(values[0]), emit.rows(values[1]), strict=True)])

    return tile(tile, other), codegen


@emitted
def where_positive(typing_context, tile, then):
    """Return then[k, l] where tile[k, l] > 0, and 0 elsewhere."""

    def codegen(context, builder, signature, values):
        emit = Emit(context, builder, tile)
        pairs = zip(emit.rows(values[0]), emit.rows(values[1]), strict=True)
        return emit.tile([u.above(0.0, value, u.like(0.0)) for u, value in pairs])

    return tile(tile, then), codegen


@emitted
def add_product(typing_context, total, tile, neurons, at):
    """Return total[k, l] + tile[k, l] · neurons[at + l]."""

    def codegen(context, builder, signature, values):
        emit = Emit(context, builder, neurons)
        factor = emit.load(emit.pointer(neurons, values[2], values[3]))
        pairs = zip(emit.rows(values[0]), emit.rows(values[1]), strict=True)
        return emit.tile([row.times_plus(factor, old) for old, row in pairs])

    return total(total, tile, neurons, types.intp), codegen


@emitted
def store_sums(typing_context, sums, at, tile):
    """Set ``sums[at + k]`` to Σ_l tile[k, l]."""

    def codegen(context, builder, signature, values):
        emit = Emit(context, builder, sums)
        kind = vector_type(emit.dtype)
        name = f"llvm.vector.reduce.fadd.v{kind.count}f{emit.dtype.bitwidth}"
        declared = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind.element, [kind.element, kind]), name
        )
        for k, row in enumerate(emit.rows(values[2])):
            total = builder.call(declared, [kind.element(-0.0), row.value], fastmath=("reassoc",))
            builder.store(total, emit.pointer(sums, values[0], builder.add(values[1], ir.IntType(64)(k))))
        return context.get_dummy_value()

    return types.void(sums, types.intp, tile), codegen


@emitted
def times(typing_context, tile, number):
    """Return number · tile[k, l]."""

    def codegen(context, builder, signature, values):
        emit = Emit(context, builder, tile)
        factor = emit.spread(values[1])
        return emit.tile([row * factor for row in emit.rows(values[0])])

    return tile(tile, tile.dtype), codegen


def _elementwise(function: Callable[[Lanes], tuple[Lanes, Lanes]]) -> Any:
    """Return a function of a tile, compiled in, that gives two tiles, from such a function of vectors."""

    @emitted
    def mapped(typing_context, tile):
        def codegen(context, builder, signature, values):
            emit = Emit(context, builder, tile)
            pairs = [function(row) for row in emit.rows(values[0])]
            both = [emit.tile([pair[part] for pair in pairs]) for part in (0, 1)]
            return context.make_tuple(builder, signature.return_type, both)

        return types.UniTuple(tile, 2)(tile), codegen

    mapped.__doc__ = function.__doc__
    return mapped


softplus, erf, tanh = (_elementwise(function) for function in (elementary.softplus, elementary.erf, elementary.tanh))
