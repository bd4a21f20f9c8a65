"""Kernels compiled for the processor at hand: nothing of the size examples times neurons is ever written."""
