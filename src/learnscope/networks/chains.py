"""Long chains of square maps M_L … M₂ M₁: how far they stretch, beyond what their product can hold.

The Jacobian of a network of L layers of equal width is such a chain. Maps are stacked as [..., L, d, d], the first one
applied first; all functions keep dtype and device. For wide random networks of tanh, how far they stretch is known.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

NODES = 101  # of the quadrature
ITERATIONS = 1000  # towards the fixed point, to rounding except next to the critical line


def log_norms(maps: Tensor, vector: Tensor) -> Tensor:
    """Return log ‖Mₖ … M₁ u‖ for k = 0 … L, without overflow or underflow.

    Args:
        maps: [..., L, d, d].
        vector: [..., d] the vector u, not zero.

    Returns:
        [..., L + 1].

    Cost: L d² multiplications.

    Examples:
        >>> maps = torch.full((1000, 1, 1), 10.0, dtype=torch.float64)
        >>> round(float(log_norms(maps, torch.ones(1, dtype=torch.float64))[-1] / torch.tensor(10.0).log()), 3)
        1000.0
    """
    norm = torch.linalg.vector_norm(vector, dim=-1)
    total, direction = norm.log(), vector / norm[..., None]
    kept = [total.expand(maps.shape[:-3])]
    for k in range(maps.shape[-3]):
        ahead = (maps[..., k, :, :] @ direction[..., None])[..., 0]
        norm = torch.linalg.vector_norm(ahead, dim=-1)
        total, direction = total + norm.log(), ahead / norm[..., None]
        kept.append(total)
    return torch.stack(kept, dim=-1)


def log_singular_range(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of the least and the largest singular value of M_L … M₁, whatever their size.

    The largest one is the norm of the product, the least one that of the product of the inverses, in reverse
    order; both products are rescaled as they grow. So their ratio, the condition number, may be far beyond what
    the product itself can hold in floating point.

    Args:
        maps: [..., L, d, d], each one invertible.

    Returns:
        Two tensors [...].

    Cost: 4 L d³ multiplications, two singular value decompositions of d × d, and a copy of the maps.

    Examples:
        >>> maps = torch.diag(torch.tensor([1e-3, 1e2], dtype=torch.float64)).expand(200, 2, 2)
        >>> [round(float(value / torch.tensor(10.0).log())) for value in log_singular_range(maps)]
        [-600, 400]
    """
    inverses = torch.linalg.inv(maps.flip(-3))
    return -_log_norm(inverses), _log_norm(maps)


def _log_norm(maps: Tensor) -> Tensor:
    """Return the logarithm of the largest singular value of the product of maps [..., L, d, d]."""
    product, total = maps[..., 0, :, :], torch.zeros((), dtype=maps.dtype, device=maps.device)
    for k in range(1, maps.shape[-3]):
        size = product.abs().amax(dim=(-2, -1))
        total = total + size.log()
        product = maps[..., k, :, :] @ (product / size[..., None, None])
    return total + torch.linalg.matrix_norm(product, ord=2).log()


def tanh_jacobians(weights: Tensor, biases: Tensor, start: Tensor, skip: float = 0.0) -> Tensor:
    """Return the Jacobians W diag(tanh'(h)) + s I of the layers h ← W tanh(h) + b + s h, along one signal.

    Args:
        weights: [..., L, d, d].
        biases: [..., L, d].
        start: [..., d] pre-activations before the first layer.
        skip: s, 1 for a network with identities.

    Returns:
        [..., L, d, d].

    Cost: L d² multiplications, and as much memory as the weights.

    Examples:
        >>> tanh_jacobians(torch.full((1, 1, 1), 3.0), torch.zeros(1, 1), torch.zeros(1), skip=1.0).item()
        4.0
    """
    signal, jacobians = start, []
    identity = torch.eye(start.shape[-1], dtype=start.dtype, device=start.device)
    for weight, bias in zip(weights.unbind(-3), biases.unbind(-2), strict=True):
        jacobians.append(weight * (1 - signal.tanh().square())[..., None, :] + skip * identity)
        signal = (weight @ signal.tanh()[..., None])[..., 0] + bias + skip * signal
    return torch.stack(jacobians, dim=-3)


def tanh_fixed_point(weight_std: float, bias_std: float) -> float:
    """Return the mean square q of pre-activations that a wide random network of tanh keeps from layer to layer.

    With weights N(0, σ_w² / width) and biases N(0, σ_b²), it is the limit of q ← σ_w² E tanh²(√q z) + σ_b² from
    large q, for z normal.

    Args:
        weight_std: σ_w.
        bias_std: σ_b.

    Source: Poole et al. 2016, section 2.

    Examples:
        >>> tanh_fixed_point(0.0, 0.5)
        0.25
    """
    z, weight = _normal_quadrature()
    q = weight_std**2 + bias_std**2
    for _ in range(ITERATIONS):
        q = weight_std**2 * float((weight * (q**0.5 * z).tanh().square()).sum()) + bias_std**2
    return q


def tanh_gradient_growth(weight_std: float, bias_std: float, width: float = math.inf) -> float:
    """Return by how much the log norm of a gradient grows on its way back through a layer, in the mean.

    That is ½ log χ with χ = σ_w² E s² for the slopes s = tanh'(√q z) at the fixed point q: below 1 gradients vanish,
    above they explode. A layer of finite width n multiplies the squared norm by (σ_w²/n) Σ s² z², whose relative
    variance is (3 E s⁴/(E s²)² − 1)/n; half of that is what the mean of its logarithm lies below log χ.

    Args:
        weight_std: σ_w, positive.
        bias_std: σ_b.
        width: n, for the correction of first order in 1/n.

    Source: Poole et al. 2016; Schoenholz et al. 2017, on χ; the correction is derived here.

    Examples:
        >>> round(tanh_gradient_growth(0.5, 0.0), 6), round(math.log(0.5), 6)
        (-0.693147, -0.693147)
    """
    z, weight = _normal_quadrature()
    slope = 1 - (tanh_fixed_point(weight_std, bias_std) ** 0.5 * z).tanh().square()
    second, fourth = (float((weight * slope**k).sum()) for k in (2, 4))
    return 0.5 * math.log(weight_std**2 * second) - (3 * fourth / second**2 - 1) / (4 * width)


def _normal_quadrature() -> tuple[Tensor, Tensor]:
    """Return nodes and weights of Gauss and Hermite for means over a standard normal variable."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
