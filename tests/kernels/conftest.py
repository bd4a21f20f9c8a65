"""The case table of the tangent kernel for all that is built on it, and operations with few derivatives."""

import pytest
import torch
from tests.kernels.tangent.conftest import case  # pyright: ignore[reportMissingImports]
from torch import nn
from torch.autograd.function import once_differentiable

__all__ = ["case"]


class WithoutForwardMode(torch.autograd.Function):
    """x², as most custom operations are written."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, *grad_outputs):
        return 2 * ctx.saved_tensors[0] * grad_outputs[0]


class DifferentiableOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs):  # pyright: ignore[reportIncompatibleMethodOverride]
        return 2 * ctx.saved_tensors[0] * grad_outputs[0]


class WrongInForwardMode(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x**2

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, *grad_outputs):
        return 2 * ctx.saved_tensors[0] * grad_outputs[0]

    @staticmethod
    def jvp(ctx, *grad_inputs):
        return 3 * ctx.saved_tensors[0] * grad_inputs[0]


class Custom(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.inner, self.function, self.head = nn.Linear(3, 4), function, nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.function.apply(self.inner(x)))


@pytest.fixture
def custom():
    """Return a function from the name of such an operation to a network [n, 3] → [n, 2] that uses it."""
    functions = {each.__name__: each for each in (WithoutForwardMode, DifferentiableOnce, WrongInForwardMode)}

    def make(name):
        torch.manual_seed(0)
        return Custom(functions[name]).double()

    return make
