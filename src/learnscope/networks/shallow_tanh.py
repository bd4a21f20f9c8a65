"""One hidden layer of tanh: predictions, tangent kernel and how far predictions are from linear, in closed form.

f(x) = s Σₖ aₖ tanh(wₖ·x / √d) over h neurons, with a and w of order 1. The scale s = h^(−1/2) is the parametrisation of
the tangent kernel, s = 1/h that of the mean field. Leading dimensions of a and w are independent networks, which
broadcast with those of the examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

STEEPEST_CURVE = 4 / 27**0.5  # the largest |tanh''|


class ShallowTanh(NamedTuple):
    """Parameters of networks, or a direction in which they move: outputs a [..., h] and weights w [..., h, d]."""

    outputs: Tensor
    weights: Tensor

    def plus(self, direction: ShallowTanh) -> ShallowTanh:
        """Return the parameters after a step."""
        return ShallowTanh(self.outputs + direction.outputs, self.weights + direction.weights)

    def times(self, outputs: Tensor | float, weights: Tensor | float) -> ShallowTanh:
        """Return the outputs and the weights times a number, or numbers [...], for each of the two."""
        like = self.outputs
        first, second = (torch.as_tensor(c, dtype=like.dtype, device=like.device) for c in (outputs, weights))
        return ShallowTanh(first[..., None] * self.outputs, second[..., None, None] * self.weights)

    def squared_norm(self) -> Tensor:
        """Return the sum of squares of all numbers, [...]."""
        return self.outputs.square().sum(-1) + self.weights.square().sum((-2, -1))


def shallow_tanh(
    width: int, dim: int, generator: torch.Generator, *, batch: Sequence[int] = (), dtype: torch.dtype = torch.float64
) -> ShallowTanh:
    """Draw parameters from N(0, 1), on the generator's device.

    Examples:
        >>> shallow_tanh(5, 3, torch.Generator().manual_seed(0)).weights.shape
        torch.Size([5, 3])
    """
    outputs = torch.randn(*batch, width, generator=generator, dtype=dtype, device=generator.device)
    weights = torch.randn(*batch, width, dim, generator=generator, dtype=dtype, device=generator.device)
    return ShallowTanh(outputs, weights)


def predictions(network: ShallowTanh, x: Tensor, scale: Tensor | float) -> Tensor:
    """Return f(x) [..., n] at examples x [..., n, d], for scales s that are a number or [...].

    Cost: n h d multiplications for each network.

    Examples:
        >>> one = ShallowTanh(torch.ones(1), torch.ones(1, 1))
        >>> round(float(predictions(one, torch.ones(1, 1), 2.0)), 4)  # 2 tanh(1)
        1.5232
    """
    hidden = (_scaled(x) @ network.weights.mT).tanh()
    return _wide(scale, network) * (hidden @ network.outputs[..., None])[..., 0]


def pulled_back(network: ShallowTanh, x: Tensor, errors: Tensor, scale: Tensor | float) -> ShallowTanh:
    """Return Jᵀ e, the gradient of Σᵢ eᵢ f(xᵢ) in the parameters, for errors [..., n].

    With e = f − y it is the gradient of ½ Σ (f − y)².

    Cost: 2 n h d multiplications for each network.

    Examples:
        >>> one = ShallowTanh(torch.ones(1), torch.zeros(1, 1))
        >>> pulled_back(one, torch.full((1, 1), 3.0), torch.ones(1), 2.0).weights.item()
        6.0
    """
    hidden = (_scaled(x) @ network.weights.mT).tanh()
    pulled = _wide(scale, network)[..., None] * errors[..., None]
    slopes = pulled * (1 - hidden.square()) * network.outputs[..., None, :]
    return ShallowTanh((pulled * hidden).sum(-2), slopes.mT @ _scaled(x))


def tangent_kernels(network: ShallowTanh, x: Tensor, scale: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return the shares of outputs and of weights in the tangent kernel J Jᵀ, [..., n, n] each.

    They are s² Σₖ tanh(zᵢₖ) tanh(zⱼₖ) and s² (xᵢ·xⱼ/d) Σₖ aₖ² tanh'(zᵢₖ) tanh'(zⱼₖ).

    Cost: 2 n² h multiplications for each network.

    Examples:
        >>> one = ShallowTanh(torch.ones(1), torch.zeros(1, 1))
        >>> [kernel.item() for kernel in tangent_kernels(one, torch.full((1, 1), 3.0), 2.0)]
        [0.0, 36.0]
    """
    hidden = (_scaled(x) @ network.weights.mT).tanh()
    slopes = (1 - hidden.square()) * network.outputs[..., None, :]
    square = _wide(scale, network)[..., None] ** 2
    return square * (hidden @ hidden.mT), square * (slopes @ slopes.mT) * (_scaled(x) @ _scaled(x).mT)


def curvature_bound(network: ShallowTanh, direction: ShallowTanh, x: Tensor, scale: Tensor | float) -> Tensor:
    """Return Λᵢ with |f(xᵢ) at θ + δ − f(xᵢ) at θ − (J δ)ᵢ| ≤ ½ Λᵢ |δ|², [..., n].

    The matrix of second derivatives has a block for each neuron, s [[0, t' uᵀ], [t' u, a t'' u uᵀ]] with u = xᵢ/√d,
    |t'| ≤ 1 and |t''| ≤ 4/√27. So its norm is at most s (b/2 + √(b²/4 + |u|²)) with b = 4/√27 |u|² max|a|, the largest
    |a| being at an end of the segment from θ to θ + δ.

    Examples:
        >>> one, still = ShallowTanh(torch.zeros(1), torch.zeros(1, 1)), ShallowTanh(torch.zeros(1), torch.zeros(1, 1))
        >>> curvature_bound(one, still, torch.full((1, 1), 3.0), 2.0).item()
        6.0
    """
    largest = torch.maximum(network.outputs.abs(), (network.outputs + direction.outputs).abs()).amax(-1)
    size = _scaled(x).square().sum(-1)
    half = STEEPEST_CURVE * size * largest[..., None] / 2
    return _wide(scale, network) * (half + (half.square() + size).sqrt())


def _scaled(x: Tensor) -> Tensor:
    return x / x.shape[-1] ** 0.5


def _wide(scale: Tensor | float, network: ShallowTanh) -> Tensor:
    return torch.as_tensor(scale, dtype=network.outputs.dtype, device=network.outputs.device)[..., None]
