"""Two-layer linear networks A = W₂ W₁ of any width, at the cost of matrices as large as A.

Gradient descent on W₁ [width, inputs] and W₂ [outputs, width] for a loss L(A) with gradient G = ∂L/∂A closes on A and
the Gram matrices C₁ = W₁ᵀ W₁, C₂ = W₂ W₂ᵀ: the width drops out of every step. A step updates W₁ first and W₂ with the
new W₁, at the same G,

    W₁ ← W₁ − η W₂ᵀ G,    W₂ ← W₂ − η G W₁ᵀ,

which is the alternation of Tu, Aranguri, Jacot 2024. Time is η times the number of steps; the loss carries its own
normalisation, L = ½ ‖A − Y‖² where nothing else is said. Entries of W₁ and W₂ start as independent N(0, variance).

What the flow of small steps becomes for wide networks is in :mod:`learnscope.dynamics.self_consistent`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import gammaincinv
from torch import Tensor

from learnscope.errors import InputError


class Factors(NamedTuple):
    """The weights themselves: ``first`` W₁ [..., width, inputs] and ``second`` W₂ [..., outputs, width]."""

    first: Tensor
    second: Tensor


class ReducedNetwork(NamedTuple):
    """All that gradient descent knows of a two-layer linear network.

    Attributes:
        product: [..., outputs, inputs] the matrix A = W₂ W₁ that the network computes.
        input_gram: [..., inputs, inputs] the Gram matrix C₁ = W₁ᵀ W₁.
        output_gram: [..., outputs, outputs] the Gram matrix C₂ = W₂ W₂ᵀ.
    """

    product: Tensor
    input_gram: Tensor
    output_gram: Tensor


def random_network(
    outputs: int,
    inputs: int,
    width: int,
    variance: float,
    generator: torch.Generator,
    batch: Sequence[int] = (),
    *,
    dtype: torch.dtype = torch.float64,
) -> ReducedNetwork:
    """Draw the reduction of a network whose weights are independent N(0, variance), without drawing the weights.

    C₁, C₂ and A are the blocks of XᵀX for X = (W₁, W₂ᵀ) [width, inputs + outputs], a Wishart matrix. Bartlett's
    decomposition gives it as variance · L Lᵀ for any width, also below inputs + outputs, where it is singular: L is
    lower triangular with min(width, inputs + outputs) columns, independent N(0, 1) below the diagonal, and on the
    diagonal the root of a chi-square of width − j degrees of freedom for j = 0, 1, ...

    Args:
        outputs: rows of A.
        inputs: columns of A.
        width: hidden units, at least 1.
        variance: of each weight, not negative.
        generator: source of all numbers; its device is the network's.
        batch: leading dimensions: the shape of a stack of independent networks.
        dtype: of the matrices; the sampling itself is done in float64.

    Raises:
        InputError: a size that is not positive, or a negative variance.

    Cost: O((inputs + outputs)³) time and O((inputs + outputs)²) memory for each network, whatever the width.

    Source: Bartlett 1933; Anderson 2003, Theorem 7.2.1.

    Examples:
        >>> network = random_network(3, 2, 10**9, 1e-9, torch.Generator().manual_seed(0))
        >>> network.input_gram.round(decimals=2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    _check_sizes(outputs, inputs, width, variance)
    both = inputs + outputs
    columns = min(width, both)
    options = {"generator": generator, "device": generator.device, "dtype": torch.float64}
    lower = torch.randn((*batch, both, columns), **options).tril(-1)
    uniform = torch.rand((*batch, columns), **options)
    lower.diagonal(dim1=-2, dim2=-1).copy_(_chi_square(uniform, width - np.arange(columns)).sqrt())
    wishart = (variance * (lower @ lower.mT)).to(dtype)
    return ReducedNetwork(
        wishart[..., inputs:, :inputs], wishart[..., :inputs, :inputs], wishart[..., inputs:, inputs:]
    )


def gradient_step(network: ReducedNetwork, gradient: Tensor, learning_rate: float | Tensor) -> ReducedNetwork:
    """Return the reduction of the network after one alternating step of gradient descent on its weights.

    With H = η G, and M between the two half-steps: M = A − C₂ H, C₁ ← C₁ − P − Pᵀ for P = ½ Hᵀ(A + M), A ← M − H C₁,
    and C₂ ← C₂ − Q − Qᵀ for Q = ½ (M + A) Hᵀ with the new C₁ and A. Equal to :func:`direct_step` up to rounding.

    Args:
        network: before the step.
        gradient: [..., outputs, inputs] the gradient G = ∂L/∂A at its product, such as A − Y.
        learning_rate: η, a number or [...] one for each network.

    Returns:
        The network after the step, in the dtype and on the device of the one before.

    Raises:
        InputError: the gradient has another shape than the product.

    Cost: four matrix products of the size of A, whatever the width; their memory twice. For a width below the rank that
        A could have, rounding errors leave the rank of A in the end: take :func:`direct_step`, which is fast there.

    Source: derived here; the alternation is that of Tu, Aranguri, Jacot 2024.

    Examples:
        >>> one = torch.ones(1, 1, dtype=torch.float64)
        >>> [float(part) for part in gradient_step(ReducedNetwork(one, one, one), -one, 0.5)]
        [2.625, 2.25, 3.0625]
    """
    product, input_gram, output_gram = network
    _check_gradient(product.shape[-2:], gradient)
    change = _per_network(learning_rate, product) * gradient
    between = product - output_gram @ change
    to_input = change.mT @ (product + between)
    input_gram = input_gram.sub(to_input + to_input.mT, alpha=0.5)
    after = between - change @ input_gram
    to_output = (between + after) @ change.mT
    return ReducedNetwork(after, input_gram, output_gram.sub(to_output + to_output.mT, alpha=0.5))


def random_factors(
    outputs: int,
    inputs: int,
    width: int,
    variance: float,
    generator: torch.Generator,
    batch: Sequence[int] = (),
    *,
    dtype: torch.dtype = torch.float64,
) -> Factors:
    """Draw weights of independent N(0, variance): arguments and errors as for :func:`random_network`, its slow twin.

    Cost: O(width (inputs + outputs)) time and memory for each network.

    Examples:
        >>> random_factors(3, 2, 5, 0.1, torch.Generator().manual_seed(0), (4,)).second.shape
        torch.Size([4, 3, 5])
    """
    _check_sizes(outputs, inputs, width, variance)
    scale = variance**0.5
    first = torch.randn((*batch, width, inputs), generator=generator, device=generator.device, dtype=dtype)
    second = torch.randn((*batch, outputs, width), generator=generator, device=generator.device, dtype=dtype)
    return Factors(scale * first, scale * second)


def direct_step(factors: Factors, gradient: Tensor, learning_rate: float | Tensor) -> Factors:
    """Return the weights after one alternating step: arguments and errors as for :func:`gradient_step`, its slow twin.

    Cost: two matrix products of inputs · outputs · width each, and another one for the gradient that it is given.

    Examples:
        >>> one = torch.ones(1, 1)
        >>> [float(weight) for weight in direct_step(Factors(one, one), -one, 0.5)]
        [1.5, 1.75]
    """
    first, second = factors
    _check_gradient((second.shape[-2], first.shape[-1]), gradient)
    rate = _per_network(learning_rate, gradient)
    first = first - second.mT @ (rate * gradient)
    return Factors(first, second - rate * gradient @ first.mT)


def reduced(factors: Factors) -> ReducedNetwork:
    """Return (W₂ W₁, W₁ᵀ W₁, W₂ W₂ᵀ).

    Examples:
        >>> [float(part) for part in reduced(Factors(torch.full((1, 1), 2.0), torch.full((1, 1), 3.0)))]
        [6.0, 4.0, 9.0]
    """
    first, second = factors
    return ReducedNetwork(second @ first, first.mT @ first, second @ second.mT)


def _chi_square(uniform: Tensor, degrees: np.ndarray) -> Tensor:
    """Return the quantiles of chi-square laws at uniform numbers [..., n], one law for each of the n degrees."""
    quantiles = 2 * gammaincinv(degrees / 2, uniform.cpu().numpy())
    return torch.from_numpy(quantiles).to(uniform.device)


def _per_network(value: float | Tensor, matrix: Tensor) -> Tensor | float:
    """Return a number for each network of a batch in a shape that multiplies matrices."""
    return value.to(matrix)[..., None, None] if isinstance(value, Tensor) else value


def _check_sizes(outputs: int, inputs: int, width: int, variance: float) -> None:
    for name, size in (("outputs", outputs), ("inputs", inputs), ("width", width)):
        if size < 1:
            raise InputError(f"{name} is {size}, but a network needs at least 1: give a positive number.")
    if variance < 0:
        raise InputError(f"variance is {variance:g}, but a variance is not negative: give σ², not its logarithm.")


def _check_gradient(shape: Sequence[int], gradient: Tensor) -> None:
    if gradient.shape[-2:] != tuple(shape):
        raise InputError(
            f"the gradient has shape {list(gradient.shape)}, but the network computes matrices of "
            f"{shape[0]} × {shape[1]}: give ∂L/∂A of that shape."
        )
