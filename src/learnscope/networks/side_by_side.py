"""Fully connected networks of one shape, run side by side, each with an activation of its own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from learnscope.errors import InputError

ACTIVATIONS: dict[str, nn.Module] = {"tanh": nn.Tanh(), "relu": nn.ReLU()}
CUT = 2.0  # standard deviations at which draws are clamped


class SideBySide(nn.Module):
    """Independent networks h_l = φ(h_{l−1} W_l + b_l) that see the same examples; the last layer is linear.

    Weights into a layer of u units are normal with variance 1/u, clamped at two standard deviations; biases are zero.
    All members are stacked, so a batch costs one product a layer for all of them.

    Source: the initialisation is that of Saxe et al. 2018, in the code published with it.

    Args:
        activations: φ of each member, "tanh" or "relu".
        sizes: inputs, units of each hidden layer, outputs.
        generator: source of the initial weights; its device becomes the networks'.
        dtype: of the weights.

    Raises:
        InputError: no members, an activation that is not known, or fewer than two sizes.

    Examples:
        >>> networks = SideBySide(["tanh", "relu"], (12, 10, 2), torch.Generator().manual_seed(0))
        >>> networks(torch.zeros(5, 12)).shape
        torch.Size([2, 5, 2])
    """

    def __init__(
        self,
        activations: Sequence[str],
        sizes: Sequence[int],
        generator: torch.Generator,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if not activations or not set(activations) <= set(ACTIVATIONS) or len(sizes) < 2:
            raise InputError(
                f"activations {list(activations)} and sizes {list(sizes)} make no network: give one of "
                f"{', '.join(ACTIVATIONS)} for each member, and the sizes of two or more layers."
            )
        self.activations = tuple(activations)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in itertools.pairwise(sizes):
            shape = (len(activations), before, after)
            drawn = torch.randn(shape, generator=generator, dtype=dtype, device=generator.device).clamp(-CUT, CUT)
            self.weights.append(nn.Parameter(drawn / after**0.5))
            self.biases.append(nn.Parameter(drawn.new_zeros(len(activations), 1, after)))

    def hidden(self, x: Tensor) -> list[Tensor]:
        """Return the activations of every hidden layer, [members, n, units] each, for examples [n, inputs]."""
        layers = []
        h = x.expand(len(self.activations), *x.shape)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            h = self._activated(torch.baddbmm(bias, h, weight))
            layers.append(h)
        return layers

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs [members, n, outputs] for examples [n, inputs]."""
        hidden = self.hidden(x)
        last = hidden[-1] if hidden else x.expand(len(self.activations), *x.shape)
        return torch.baddbmm(self.biases[-1], last, self.weights[-1])

    def _activated(self, z: Tensor) -> Tensor:
        return torch.stack([ACTIVATIONS[name](each) for name, each in zip(self.activations, z, strict=True)])
