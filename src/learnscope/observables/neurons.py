"""The neurons of a network with one hidden layer of ReLUs as points: where each of them bends, and which agree.

For f(x) = (1/h) Σ_n β_n σ(ω_n · x / √d + b_n) with σ(u) = max(u, 0), the n-th neuron bends on the line, or plane, of
the x with z · x = |z|², where z = -√d b ω / |ω|² is its point nearest to the origin (Petrini 2020).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from learnscope.errors import InputError


class Neurons(NamedTuple):
    """Parameters of h neurons: weights ω [h, d], biases b [h], and output weights β [h]."""

    weights: Tensor
    biases: Tensor
    outputs: Tensor


def kinks(weights: Tensor, biases: Tensor) -> Tensor:
    """Return z = -√d b ω / |ω|², the point nearest to the origin at which each neuron bends.

    Args:
        weights: [..., h, d] ω, none of them zero.
        biases: [..., h] b.

    Returns:
        [..., h, d], in the units of the inputs; infinite or NaN for ω = 0.

    Examples:
        >>> kinks(torch.tensor([[2.0]]), torch.tensor([-1.0])).tolist()  # 2 x - 1 vanishes at 1/2
        [[0.5]]
    """
    scale = weights.shape[-1] ** 0.5 * biases / weights.square().sum(-1)
    return -scale[..., None] * weights


def preactivations(weights: Tensor, biases: Tensor, x: Tensor) -> Tensor:
    """Return ω · x / √d + b: [..., p, h] for inputs [p, d].

    Examples:
        >>> preactivations(torch.tensor([[2.0]]), torch.tensor([-1.0]), torch.tensor([[3.0]])).tolist()
        [[5.0]]
    """
    return x @ weights.mT / weights.shape[-1] ** 0.5 + biases[..., None, :]


def kink_velocity(neurons: Neurons, x: Tensor, pull: Tensor) -> Tensor:
    """Return dz/dt of each neuron under gradient flow, in closed form.

    With dω/dt = -h ∂L/∂ω and the like, L = (1/p) Σ_μ ℓ_μ(f(x_μ)) and s_μ = -ℓ'_μ, the pull on the output,

        dz/dt = β / (p b) Σ_μ s_μ 1[μ active] ( z + (2 (z · x_μ) z - |z|² x_μ) / d ),

    where μ is active for b < 0 if z · x_μ > |z|², for b > 0 if z · x_μ < |z|². Petrini's slide has no 1/d, which is
    right for a network without the 1/√d in front of ω · x.

    Args:
        neurons: with biases that are not zero.
        x: [p, d].
        pull: [p] s_μ; for the hinge loss y_μ while the margin is not reached, else 0.

    Returns:
        [h, d], for σ(u) = max(u, 0); √2 times that for σ(u) = √2 max(u, 0).

    Source: Petrini 2020, with the factor 1/d corrected.

    Examples:
        >>> one = Neurons(torch.tensor([[1.0]]), torch.tensor([-1.0]), torch.tensor([1.0]))
        >>> kink_velocity(one, torch.tensor([[2.0]]), torch.tensor([1.0])).tolist()  # z = -b/ω: ḃ = 1, ω̇ = 2
        [[-3.0]]
    """
    weights, biases, outputs = neurons
    z, dim = kinks(weights, biases), weights.shape[1]
    active = active_by_kink(z, biases, x).to(x.dtype) * pull[:, None]  # [p, h]
    along = (active * (x @ z.mT)).sum(0)  # Σ s (z · x)
    field = active.sum(0)[:, None] * z + (2 * along[:, None] * z - z.square().sum(1)[:, None] * (active.mT @ x)) / dim
    return (outputs / (len(x) * biases))[:, None] * field


def active_by_kink(z: Tensor, biases: Tensor, x: Tensor) -> Tensor:
    """Return which inputs activate which neurons, from z and the sign of b alone: [p, h] booleans.

    Examples:
        >>> active_by_kink(torch.tensor([[0.5]]), torch.tensor([-1.0]), torch.tensor([[0.4], [0.6]])).tolist()
        [[False], [True]]
    """
    beyond = x @ z.mT - z.square().sum(1)
    return torch.where(biases < 0, beyond, -beyond) > 0


def attractors(neurons: Neurons, x: Tensor) -> Tensor:
    """Return to which attractor each neuron belongs: [h] integers from 0 on, -1 for a neuron that no input activates.

    An attractor is a set of neurons that are active on the same inputs and have the same sign of β.

    Args:
        neurons: the parameters.
        x: [p, d] training inputs.

    Examples:
        >>> three = Neurons(torch.tensor([[1.0], [2.0], [1.0]]), torch.zeros(3), torch.tensor([1.0, 3.0, -1.0]))
        >>> attractors(three, torch.tensor([[1.0], [-1.0]])).tolist()
        [1, 1, 0]
    """
    pattern = preactivations(neurons.weights, neurons.biases, x).mT > 0  # [h, p]
    alive = pattern.any(1) & (neurons.outputs != 0)
    kinds = torch.cat([(neurons.outputs > 0)[:, None], pattern], dim=1)[alive]
    members = torch.full((len(pattern),), -1, dtype=torch.int64, device=x.device)
    if bool(alive.any()):
        members[alive] = torch.unique(kinds, dim=0, return_inverse=True)[1]
    return members


def active_sets(neurons: Neurons, x: Tensor) -> int:
    """Return how many different sets of inputs, the empty one aside, activate some neuron.

    Examples:
        >>> active_sets(Neurons(torch.tensor([[1.0], [-1.0]]), torch.zeros(2), torch.ones(2)), torch.tensor([[1.0]]))
        1
    """
    pattern = preactivations(neurons.weights, neurons.biases, x).mT > 0
    return len(torch.unique(pattern[pattern.any(1)], dim=0))


def merged(neurons: Neurons, members: Tensor) -> Neurons:
    """Return one neuron for each group: ω̃ = Σ |β| ω, b̃ = Σ |β| b, β̃ = ± A/h for A groups out of h neurons.

    If the neurons of a group are active on the same inputs and agree in the sign of β, the outputs on these inputs
    stay: a sum of positive pre-activations is positive, and a sum of others is not. The factor A/h makes up for the
    1/A in front of the smaller network.

    Args:
        neurons: the parameters.
        members: [h] the group of each neuron, from 0 on; -1 leaves it out.

    Raises:
        InputError: if every neuron is left out.

    Source: Petrini 2020, where the condition on the sign of β is missing.

    Examples:
        >>> two = Neurons(torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0]))
        >>> [part.tolist() for part in merged(two, torch.tensor([0, 0]))]
        [[[7.0]], [3.0], [0.5]]
    """
    weights, biases, outputs = neurons
    kept = members >= 0
    if not bool(kept.any()):
        raise InputError(f"all {len(members)} neurons are left out: at least one has to be active on some input.")
    groups = members[kept]
    count = int(groups.amax()) + 1
    size = outputs[kept].abs()
    sums = weights.new_zeros(count, weights.shape[1]).index_add_(0, groups, size[:, None] * weights[kept])
    offsets = biases.new_zeros(count).index_add_(0, groups, size * biases[kept])
    signs = outputs.new_zeros(count).index_add_(0, groups, outputs[kept]).sign()
    return Neurons(sums, offsets, signs * count / len(members))


def angular_entropy(z: Tensor, weight: Tensor, bins: int = 36) -> Tensor:
    """Return the entropy of the directions of points in the plane, over log(bins): 1 where they are spread evenly.

    H = -Σ_k q_k log q_k / log(bins), with q_k the share of the weight in the k-th of equal bins of the angle.

    Args:
        z: [h, 2]; points that are not finite count for nothing.
        weight: [h] non-negative, not all zero.
        bins: of the angle.

    Raises:
        InputError: for points that are not in the plane.

    Examples:
        >>> z = torch.tensor([[1.0, 0.1], [-1.0, 0.1], [-1.0, -0.1], [1.0, -0.1]])
        >>> float(angular_entropy(z, torch.ones(4), bins=4)), float(angular_entropy(z[:1], torch.ones(1), bins=4))
        (1.0, 0.0)
    """
    if z.shape[-1] != 2:
        raise InputError(f"the points have {z.shape[-1]} coordinates: angles are those of points in the plane.")
    finite = torch.isfinite(z).all(-1)
    angle = torch.atan2(z[finite, 1], z[finite, 0]) / (2 * torch.pi) % 1.0
    place = (angle * bins).long().clamp(max=bins - 1)
    mass = weight.new_zeros(bins).index_add_(0, place, weight[finite])
    share = (mass / mass.sum()).double()
    return torch.special.entr(share).sum() / torch.log(torch.tensor(float(bins), dtype=torch.float64))


def clusters(z: Tensor, distance: float) -> int:
    """Return how many groups points fall into, if those less than ``distance`` apart belong together.

    These are the clusters of DBSCAN with one point each at least (Ester et al. 1996).

    Args:
        z: [h, d]; points that are not finite are left out.
        distance: in the units of z.

    Examples:
        >>> clusters(torch.tensor([[0.0], [0.1], [0.2], [1.0]]), 0.15)
        2
    """
    from sklearn.cluster import DBSCAN

    points = z[torch.isfinite(z).all(1)].cpu().numpy()
    return len(set(DBSCAN(eps=distance, min_samples=1).fit_predict(points).tolist())) if len(points) else 0
