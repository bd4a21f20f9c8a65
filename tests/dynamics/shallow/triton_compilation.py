"""Compiles the kernels for NVIDIA's Hopper cards, and prints the size of each program."""

# pyright: reportMissingImports=false

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from learnscope.dynamics.shallow.triton import kernels
from learnscope.dynamics.shallow.triton.layout import LAUNCH, row_tile

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
    for dtype, tile, kind, loss, dim in (
        ("fp32", 64, "softplus", "soft_hinge", 10),
        ("fp32", 64, "erf", "hinge", 127),
        ("fp64", 32, "tanh", "logistic", 2),
    ):
        common = {"ROWS": dim + 1, "KIND": kind, "SHARPNESS": 5.0, "TILE": tile, "splits": 1}
        of_loss = {"LOSS": loss, "LOSS_SHARPNESS": 20.0, "ROW_TILE": row_tile(dim)}
        for program in (
            compiled(kernels.sum_outputs, dtype, **common),
            compiled(kernels.sum_gradients, dtype, **common, **of_loss),
        ):
            print(kind, dtype, len(program.asm["cubin"]))


if __name__ == "__main__":
    main()
