"""Kernels for graphics processors: nothing of the size examples times neurons is ever written to memory."""
