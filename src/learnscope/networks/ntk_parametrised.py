"""Fully connected networks in the parametrisation of the tangent kernel, many at once, with gradients written out.

    z₁ = √(σ_w²/d) W₁ x,   z_{l+1} = √(σ_w²/h_l) W_{l+1} σ(z_l),   f(x) = z_L,

without biases and with one output; the entries of W_l [..., h_l, h_{l-1}] are N(0, 1) at first. In this parametrisation
the tangent kernel has a limit at infinite width (:func:`learnscope.kernels.infinite_width` with the same σ and σ_w²).
Leading dimensions of the weights are independent networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.networks.activations import Activation
from learnscope.networks.deep_linear import gaussian_factors

RECTIFIER = Activation("relu")


def unit_weights(
    dims: Sequence[int], generator: torch.Generator, batch: Sequence[int] = (), *, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Return weights (W₁, ..., W_L) with independent entries N(0, 1), on the generator's device.

    Args:
        dims: (d, h₁, ..., h_{L-1}, 1): inputs, hidden widths, outputs.
        generator: source of the entries.
        batch: leading dimensions: the shape of the stack of independent networks.
        dtype: of the weights.

    Returns:
        L tensors [*batch, h_l, h_{l-1}].

    Raises:
        InputError: there are fewer than two dims, or one is not positive.

    Examples:
        >>> W1, W2 = unit_weights((3, 400, 1), torch.Generator().manual_seed(0))
        >>> W2.shape, round(float(W1.square().mean()), 1)
        (torch.Size([1, 400]), 1.0)
    """
    return [W * W.shape[-1] ** 0.5 for W in gaussian_factors(dims, 1.0, generator, batch, dtype=dtype)]


class Signals(NamedTuple):
    """What a forward pass leaves: the inputs of every layer of weights, the slopes σ'(z) between them, the outputs."""

    inputs: list[Tensor]  # L tensors [..., n, h_{l-1}]
    slopes: list[Tensor]  # L - 1 tensors [..., n, h_l]
    outputs: Tensor  # [..., n, 1]


@dataclass(frozen=True, slots=True)
class NTKParametrised:
    """The function f of weights and examples.

    Attributes:
        activation: σ.
        weight_variance: σ_w²; 2 keeps the size of signals in networks of rectifiers.

    Examples:
        >>> network = NTKParametrised(weight_variance=1.0)
        >>> weights = [torch.full((4, 1), 3.0), torch.full((1, 4), 0.5)]
        >>> network.outputs(weights, torch.ones(1, 1)).tolist()  # 4^(−½) · 4 · ½ · 3
        [3.0]
        >>> network.tangent_kernel(weights, torch.ones(1, 1)).tolist()  # ¼ · 4 · 3² + ¼ · 4 · ½²
        [[9.25]]
    """

    activation: Activation = RECTIFIER
    weight_variance: float = 2.0

    def outputs(self, weights: Sequence[Tensor], x: Tensor) -> Tensor:
        """Return f(x) [..., n] at examples x [n, d].

        Raises:
            InputError: the examples do not have as many numbers as the first weights have columns.

        Cost: n h_l h_{l-1} multiplications for each layer and network.
        """
        return self.signals(weights, x).outputs[..., 0]

    def signals(self, weights: Sequence[Tensor], x: Tensor) -> Signals:
        """Return the outputs at examples x [n, d], and what :meth:`gradients` and :meth:`tangent_kernel` need."""
        if x.ndim != 2 or x.shape[1] != weights[0].shape[-1]:
            raise InputError(f"x has shape {tuple(x.shape)}; give [n, {weights[0].shape[-1]}] examples of the network.")
        inputs, slopes = [x.expand(*weights[0].shape[:-2], -1, -1)], []
        for W in weights[:-1]:
            z = self._scale(W) * (inputs[-1] @ W.mT)
            inputs.append(self.activation.value(z))
            slopes.append(self.activation.slope(z))
        return Signals(inputs, slopes, self._scale(weights[-1]) * (inputs[-1] @ weights[-1].mT))

    def gradients(self, weights: Sequence[Tensor], signals: Signals, errors: Tensor) -> list[Tensor]:
        """Return the gradient of Σᵢ eᵢ f(xᵢ) in each layer's weights, for errors e [..., n, 1].

        With e = ∂L/∂f it is the gradient of the loss.

        Cost: 2 n h_l h_{l-1} multiplications for each layer and network.
        """
        pulled = self._pulled_back(weights, signals, errors)
        return [self._scale(W) * (e.mT @ a) for W, e, a in zip(weights, pulled, signals.inputs, strict=True)]

    def tangent_kernel(self, weights: Sequence[Tensor], x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return Θ(x, x') = Σ_l (σ_w²/h_{l-1}) (∂f/∂z_l · ∂f'/∂z_l) (a_l · a_l'), [..., n, n'].

        Here a_l are the inputs of layer l, and a dash means: at x'.

        Args:
            weights: (W₁, ..., W_L).
            x1: [n, d] examples.
            x2: [n', d] examples, ``x1`` by default.

        Cost: n n' (h_l + h_{l-1}) multiplications for each layer and network, beside two passes.
        """
        first = self._layers(weights, x1)
        second = first if x2 is None else self._layers(weights, x2)
        parts = [(e1 @ e2.mT) * (a1 @ a2.mT) for (e1, a1), (e2, a2) in zip(first, second, strict=True)]
        return torch.stack(parts).sum(0)

    def _layers(self, weights: Sequence[Tensor], x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return, for each layer, scaled ∂f/∂z_l [..., n, h_l] and the inputs [..., n, h_{l-1}]."""
        signals = self.signals(weights, x)
        pulled = self._pulled_back(weights, signals, torch.ones_like(signals.outputs))
        return [(self._scale(W) * e, a) for W, e, a in zip(weights, pulled, signals.inputs, strict=True)]

    def _pulled_back(self, weights: Sequence[Tensor], signals: Signals, errors: Tensor) -> list[Tensor]:
        """Return eᵢ ∂f(xᵢ)/∂z_l for each layer, [..., n, h_l]."""
        pulled = [errors]
        for W, slopes in zip(reversed(weights[1:]), reversed(signals.slopes), strict=True):
            pulled.append(self._scale(W) * (pulled[-1] @ W) * slopes)
        return pulled[::-1]

    def _scale(self, weight: Tensor) -> float:
        return (self.weight_variance / weight.shape[-1]) ** 0.5
