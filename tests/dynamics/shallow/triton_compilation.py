"""Compiles the kernels for NVIDIA's Hopper cards, and prints the size of each program."""

# pyright: reportMissingImports=false

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from learnscope.dynamics.shallow.triton import kernels
from learnscope.dynamics.shallow.triton.layout import LAUNCH, TILE, row_tile

CARD = GPUTarget("cuda", 90, 32)
POINTERS = ("parameters", "examples", "predictions", "labels", "parts")
COUNTS = ("widths", "sizes")


def compiled(kernel, dtype, **constants):
    def kind(name):
        if name in constants:
            return "constexpr"
        if name in POINTERS:
            return f"*{dtype}"
        return "*i32" if name in COUNTS else "*i1" if name == "active" else "i32"

    signature = {name: kind(name) for name in kernel.arg_names}
    given = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    return triton.compile(ASTSource(kernel, signature, given), target=CARD, options=LAUNCH)


def main():
    """Compile both kernels, with each activation, dtype, and number of rows of a tile for the inputs."""
    for kernel, dtype, activation, dim in (
        (kernels.sum_outputs, "fp32", "relu", 10),
        (kernels.sum_gradients, "fp32", "softplus", 10),
        (kernels.sum_gradients, "fp32", "erf", 127),
        (kernels.sum_gradients, "fp64", "tanh", 2),
    ):
        tile = TILE[getattr(torch, f"float{dtype[2:]}")]
        constants = {"ROWS": dim + 1, "KIND": activation, "SHARPNESS": 2.3, "TILE": tile, "splits": 1}
        if kernel is kernels.sum_gradients:
            constants |= {"LOSS": "soft_hinge", "LOSS_SHARPNESS": 20.0, "ROW_TILE": row_tile(dim)}
        print(activation, dtype, len(compiled(kernel, dtype, **constants).asm["cubin"]))


if __name__ == "__main__":
    main()
