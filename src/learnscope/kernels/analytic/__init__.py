"""Kernels of infinitely wide networks in closed form."""

from learnscope.kernels.analytic.activations import InfiniteWidthKernels
from learnscope.kernels.analytic.convolutional import myrtle
from learnscope.kernels.analytic.fully_connected import infinite_width

__all__ = ["InfiniteWidthKernels", "infinite_width", "myrtle"]
