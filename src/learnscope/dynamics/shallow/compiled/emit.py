"""Loads, stores and rows in LLVM's language, with which the functions on tiles are written."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from learnscope.dynamics.shallow.compiled.lanes import ROWS, Lanes, vector_type


class Emit:
    """What every intrinsic needs: memory of an array at an offset, rows of a tile, and tiles of rows.

    Arrays in which sums are kept share no memory with those that are given. LLVM is told so, and keeps a sum in a
    register through a loop where it can.
    """

    def __init__(self, context: Any, builder: ir.IRBuilder, typed: Any) -> None:
        self.context, self.builder, self.dtype = context, builder, typed.dtype

    def pointer(self, array: types.Array, value: ir.Value, offset: ir.Value) -> ir.Value:
        """Return where an offset of an array lies."""
        data = self.context.make_array(array)(self.context, self.builder, value).data
        return self.builder.gep(data, [offset])

    def load(self, pointer: ir.Value) -> Lanes:
        """Return the vector that lies somewhere in what is given."""
        return self._loaded(pointer, "alias.scope")

    def load_sum(self, pointer: ir.Value) -> Lanes:
        """Return a vector of sums."""
        return self._loaded(pointer, "noalias")

    def store_sum(self, row: Lanes, pointer: ir.Value) -> None:
        """Write a vector of sums."""
        vector = self.builder.bitcast(pointer, vector_type(self.dtype).as_pointer())
        stored = self.builder.store(row.value, vector, align=self.dtype.bitwidth // 8)
        stored.set_metadata("noalias", self._given())

    def fill(self, pointer: ir.Value, k: int) -> Lanes:
        """Return a vector full of a number, the k-th from where the pointer is."""
        number = self.builder.load(self.builder.gep(pointer, [ir.IntType(64)(k)]))
        number.set_metadata("alias.scope", self._given())
        return self.spread(number)

    def _loaded(self, pointer: ir.Value, relation: str) -> Lanes:
        vector = self.builder.bitcast(pointer, vector_type(self.dtype).as_pointer())
        loaded = self.builder.load(vector, align=self.dtype.bitwidth // 8)
        loaded.set_metadata(relation, self._given())
        return Lanes(self.builder, self.dtype, loaded)

    def _given(self) -> ir.Value:
        """Return LLVM's name for the memory of all that is given."""
        module = self.builder.module
        domain = module.add_metadata([ir.MetaDataString(module, "passes")])
        return module.add_metadata([module.add_metadata([ir.MetaDataString(module, "given"), domain])])

    def spread(self, number: ir.Value) -> Lanes:
        """Return a vector full of a number."""
        kind = vector_type(self.dtype)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.IntType(32)(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [ir.IntType(32)(0)] * kind.count)
        return Lanes(
            self.builder, self.dtype, self.builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), mask)
        )

    def rows(self, tile: ir.Value) -> list[Lanes]:
        """Return the vectors of a tile."""
        return [Lanes(self.builder, self.dtype, self.builder.extract_value(tile, k)) for k in range(ROWS)]

    def tile(self, rows: list[Lanes]) -> ir.Value:
        """Return the tile of some vectors."""
        packed = ir.Constant(ir.ArrayType(vector_type(self.dtype), ROWS), ir.Undefined)
        for k, row in enumerate(rows):
            packed = self.builder.insert_value(packed, row.value, k)
        return packed
