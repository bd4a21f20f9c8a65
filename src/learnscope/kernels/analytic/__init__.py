"""Kernels of infinitely wide networks in closed form."""

from learnscope.kernels.analytic.activations import InfiniteWidthKernels
from learnscope.kernels.analytic.compositional import compositional
from learnscope.kernels.analytic.convolutional import myrtle
from learnscope.kernels.analytic.fully_connected import infinite_width
from learnscope.kernels.analytic.layers import layer_eigenvalues, layer_kernels
from learnscope.kernels.analytic.learning_curves import expected_error
from learnscope.kernels.analytic.sphere import funk_hecke

__all__ = [
    "InfiniteWidthKernels",
    "compositional",
    "expected_error",
    "funk_hecke",
    "infinite_width",
    "layer_eigenvalues",
    "layer_kernels",
    "myrtle",
]
