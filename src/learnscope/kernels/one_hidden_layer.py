"""The tangent kernel of a network with one hidden layer, in closed form, at finite and at infinite width.

f(x) = (1/h) Σ_n β_n σ(ω_n·x / √d + b_n) is trained with time counted in units of h, dθ/dt = −h ∂L/∂θ, so that neurons
move at a speed that does not depend on h. What moves f is then

    Θ(x, x') = h Σ_θ ∂f(x)/∂θ ∂f(x')/∂θ = ⟨σ(z) σ(z')⟩ + ⟨β² σ'(z) σ'(z')⟩ (x·x' / d + 1)

with z = ω·x / √d + b and ⟨…⟩ the mean over neurons: the first term comes from the outputs β, the share x·x' / d of the
second from the weights ω, and the 1 from the biases b.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from learnscope.kernels.analytic.activations import moments
from learnscope.networks.activations import Activation
from learnscope.networks.activations import activation as as_activation
from learnscope.networks.one_hidden_layer import OneHiddenLayer

CHUNK = 2**22  # values of pre-activations at a time
TILE = 2**16  # values of the kernel of infinite width at a time, few enough for the cache


class LayerKernels(NamedTuple):
    """The shares [n, n'] of the parameters in a tangent kernel.

    Attributes:
        outputs: of β: the kernel of the last layer alone.
        weights: of ω.
        biases: of b; together with ``weights`` the kernel of the first layer.
    """

    outputs: Tensor
    weights: Tensor
    biases: Tensor

    @property
    def total(self) -> Tensor:
        """Return the tangent kernel."""
        return self.outputs + self.weights + self.biases


def tangent_kernels(network: OneHiddenLayer, x1: Tensor, x2: Tensor | None = None) -> LayerKernels:
    """Return the tangent kernel of a network by its parameters, h ⟨∇f(x), ∇f(x')⟩.

    Args:
        network: h neurons in d dimensions, without leading dimensions.
        x1: [n, d] inputs.
        x2: [n', d] inputs, ``x1`` by default.

    Cost: 2 n n' h multiplications; memory of five [n, n'] matrices, and of 130 MB whatever the width.

    Source: Paccolat, Petrini, Geiger, Tyloo, Wyart 2021, appendix, up to the factor h.

    Examples:
        >>> import torch
        >>> from learnscope.networks.one_hidden_layer import one_hidden_layer
        >>> network = one_hidden_layer(100, 3, torch.Generator().manual_seed(0))
        >>> kernels = tangent_kernels(network, torch.eye(3, dtype=torch.float64))
        >>> torch.allclose(kernels.weights, kernels.biases * torch.eye(3) / 3)
        True
    """
    other, sigma = x1 if x2 is None else x2, network.activation
    hidden, slopes = x1.new_zeros(2, len(x1), len(other))
    neurons = max(1, CHUNK // max(1, len(x1), len(other)))
    chunks = zip(*(each.split(neurons) for each in (network.weights, network.biases, network.outputs)), strict=True)
    for weights, biases, outputs in chunks:
        part = OneHiddenLayer(weights, biases, outputs, sigma)
        first = part.preactivations(x1)
        second = first if x2 is None else part.preactivations(x2)
        hidden.addmm_(sigma.value(first), sigma.value(second).T)
        slopes.addmm_(sigma.slope(first) * outputs, (sigma.slope(second) * outputs).T)
    of_biases = slopes / network.width
    return LayerKernels(hidden / network.width, of_biases * _overlaps(x1, other), of_biases)


def limit_kernels(
    x1: Tensor, x2: Tensor | None = None, *, activation: str | Activation = "relu", bias_scale: float = 1.0
) -> LayerKernels:
    """Return the tangent kernel at infinite width by its parameters, for ω, β ~ N(0, 1) and b ~ N(0, bias_scale²).

    With S = x·x' / d and (z, z') of covariance S + bias_scale² the shares are E[σσ], E[σ'σ'] S and E[σ'σ'] (Cho, Saul
    2009 for ReLU). With biases of scale 1 the total is the kernel of ``infinite_width`` for unit variances, less the 1
    of its output bias.

    Args:
        x1: [n, d] inputs.
        x2: [n', d] inputs, ``x1`` by default.
        activation: σ, a rectifier or an error function, by name or as it is.
        bias_scale: standard deviation of the biases.

    Raises:
        InputError: the activation is not known, or has no closed form here.

    Cost: O(n n' d) time, a few rows at a time that fit the cache; three [n, n'] matrices of memory.

    Examples:
        >>> import torch
        >>> x = torch.tensor([[0.0]], dtype=torch.float64)
        >>> kernels = limit_kernels(x)  # z = b ~ N(0, 1): E[max(b, 0)²] = P(b > 0) = 1/2
        >>> [round(float(share), 4) for share in kernels], float(kernels.total)
        ([0.5, 0.0, 0.5], 1.0)
    """
    sigma = as_activation(activation)
    expected, other = moments(sigma.kind), x1 if x2 is None else x2
    first, second = (x.square().mean(1) + bias_scale**2 for x in (x1, other))
    shares = x1.new_empty(3, len(x1), len(other))
    rows = max(1, TILE // max(1, len(other)))
    for x, variance, tile in zip(x1.split(rows), first.split(rows), shares.split(rows, dim=1), strict=True):
        overlaps = _overlaps(x, other)
        value, slope = expected(variance[:, None], overlaps + bias_scale**2, second[None, :])
        tile[0], tile[1], tile[2] = value, slope * overlaps, slope
    return LayerKernels(*shares.mul_(sigma.scale**2))


def _overlaps(x1: Tensor, x2: Tensor) -> Tensor:
    return x1 @ x2.T / x1.shape[1]
