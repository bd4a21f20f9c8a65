"""The empirical tangent kernel: exact, for any module, by the cheapest way for each layer."""

from learnscope.kernels.tangent.kernel import tangent_kernel
from learnscope.kernels.tangent.selection import selected_parameters

__all__ = ["selected_parameters", "tangent_kernel"]
