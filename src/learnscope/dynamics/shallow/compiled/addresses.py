"""Calls of compiled code by its address, so that what calls it is compiled without it."""

# ruff: noqa: ANN001, ANN201, ANN202 (Numba infers the types of what it compiles)
from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils

from learnscope.dynamics.shallow.compiled.tiles import emitted


@emitted
def call(typing_context, address, arguments):
    """Call a C function that returns nothing, given where it lies; it is not checked that it takes these arguments."""

    def codegen(context, builder, signature, values):
        kinds = [context.get_value_type(kind) for kind in arguments.types]
        function = builder.inttoptr(values[0], ir.FunctionType(ir.VoidType(), kinds).as_pointer())
        builder.call(function, cgutils.unpack_tuple(builder, values[1]))
        return context.get_dummy_value()

    return types.void(address, arguments), codegen
