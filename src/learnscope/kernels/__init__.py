"""Tangent kernels of networks, finite and infinitely wide, and machines that learn from any kernel."""
