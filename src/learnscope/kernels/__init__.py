"""Tangent kernels of networks, finite and infinitely wide, and machines that learn from any kernel."""

from learnscope.kernels.analytic import InfiniteWidthKernels, infinite_width, myrtle
from learnscope.kernels.components import KernelComponents, kernel_pca
from learnscope.kernels.lanczos import Eigenpairs
from learnscope.kernels.linearised import linearize
from learnscope.kernels.machines import KernelNearestNeighbours, KernelRidge, KernelSupportVectorClassifier
from learnscope.kernels.operator import TangentOperator
from learnscope.kernels.predictions import (
    Prediction,
    gradient_descent_prediction,
    gradient_flow_prediction,
    max_learning_rate,
)
from learnscope.kernels.tangent import TangentKernel, selected_parameters, stream_tangent_kernel, tangent_kernel

__all__ = [
    "Eigenpairs",
    "InfiniteWidthKernels",
    "KernelComponents",
    "KernelNearestNeighbours",
    "KernelRidge",
    "KernelSupportVectorClassifier",
    "Prediction",
    "TangentKernel",
    "TangentOperator",
    "gradient_descent_prediction",
    "gradient_flow_prediction",
    "infinite_width",
    "kernel_pca",
    "linearize",
    "max_learning_rate",
    "myrtle",
    "selected_parameters",
    "stream_tangent_kernel",
    "tangent_kernel",
]
