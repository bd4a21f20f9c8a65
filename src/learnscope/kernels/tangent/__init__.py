"""The empirical tangent kernel: exact, for any module, by the cheapest way for each layer."""

from learnscope.kernels.tangent.kernel import TangentKernel, tangent_kernel
from learnscope.kernels.tangent.selection import selected_parameters
from learnscope.kernels.tangent.stream import stream_tangent_kernel

__all__ = ["TangentKernel", "selected_parameters", "stream_tangent_kernel", "tangent_kernel"]
