"""What the principal components of a kernel know of the labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.estimate import Estimate
from learnscope.kernels.components import kernel_pca
from learnscope.observables.alignment import label_targets
from learnscope.observables.features import as_classes, promoted
from learnscope.observables.information import entropy

NEIGHBOURS = 5
LOCAL = 4  # a class is large enough if its k nearest are at most a quarter of it


@dataclass(frozen=True, slots=True, eq=False)
class LabelComponents:
    """Leading components of a kernel and their shares of the label.

    Attributes:
        eigenvalues: [k] λ_r, descending.
        components: [n, k] φ_r(x_i), orthogonal, with ⟨φ_r, φ_r⟩ = n.
        shares: [k] ω_r², see :func:`label_shares`.
    """

    eigenvalues: Tensor
    components: Tensor
    shares: Tensor

    @property
    def cumulative(self) -> Tensor:
        """[k] share of the label in the first 1, 2, ... components."""
        return self.shares.cumsum(0)

    def needed_for(self, share: float) -> int | None:
        """Return how many leading components hold a share of the label together; None if these do not."""
        reached = torch.nonzero(self.cumulative >= share)
        return int(reached[0]) + 1 if len(reached) else None


def label_components(kernel: Tensor, y: Tensor, k: int, *, centred: bool = False) -> LabelComponents:
    """Return the k leading components of a kernel, K φ_r = λ_r φ_r, with their shares ω_r² of the label.

    Args:
        kernel: [n, n] Gram matrix; decomposed in its own precision, but float32 at least.
        y: [n] classes, or [n] or [n, outputs] real targets.
        k: how many, up to n.
        centred: whether the kernel is centred in its feature space first.

    Raises:
        InputError: for a kernel that is not a Gram matrix, or labels that do not fit.

    Cost: an eigendecomposition, O(n³).

    Source: Paccolat, Petrini, Geiger, Tyloo, Wyart 2021 (arXiv:2007.11471).

    Examples:
        >>> y = torch.tensor([1.0, 1.0, -1.0, -1.0])
        >>> found = label_components(3 * torch.outer(y, y) + torch.eye(4), y, 2)
        >>> found.shares.round(decimals=6).abs().tolist(), found.needed_for(0.9)
        ([1.0, 0.0], 1)
    """
    found = kernel_pca(promoted(kernel), k, centred=centred)
    return LabelComponents(found.eigenvalues, found.components, label_shares(found.components, y))


def label_shares(components: Tensor, y: Tensor) -> Tensor:
    """Return each component's share of the label, ω_r² = ‖Yᵀφ_r‖² / (n ‖Y‖²) for ⟨φ_r, φ_r⟩ = n.

    For y = ±1 that is ⟨φ_r, y⟩² / n². Several targets, such as the corners of a simplex that stand for classes
    (:func:`learnscope.observables.alignment.label_targets`), are summed over. The shares of a full basis sum to 1.

    Args:
        components: [n, k], orthogonal columns of squared norm n.
        y: [n] classes, or [n] or [n, outputs] real targets.

    Returns:
        [k] float64; NaN if the targets are zero, as those of a single class are.

    Raises:
        InputError: for labels that do not fit.

    Examples:
        >>> label_shares(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([1.0, 0.0])).tolist()
        [0.5, 0.5]
    """
    targets = label_targets(y.to(components.device), len(components))
    projected = targets.mT @ components.double()
    return projected.square().sum(0) / (len(components) * targets.square().sum())


def component_information(components: Tensor, y: Tensor, *, neighbours: int = NEIGHBOURS) -> Estimate:
    """Estimate the information I(φ_r; y) between the values of a component and the class, in bits.

    The k-th nearest of n_c examples of class c, at the distance r_c, tells that the density there is about
    k / (2 n_c r_c); so by Bayes' rule the class has the posterior q_c = (1/r_c) / Σ_b (1/r_b), and

        I = H(y) − (1/n) Σᵢ H(q(xᵢ)).

    For two classes q₊ = 1 / (1 + r₊/r₋), and H(y) = 1 if they are balanced. An example is no neighbour of itself. The
    scale of a component does not matter. Of a component that knows nothing it finds about (1 − 1/c) / (2k ln 2) bits.

    Args:
        components: [n, r], or [n] for one.
        y: [n] classes as integers or booleans, or real targets ±1.
        neighbours: k.

    Returns:
        An estimate of shape [r], or a single one. The standard error is the deviation of H(q(xᵢ)) over √n, as if
        examples were independent. NaN for one class and for components that are not finite; not converged where a class
        has fewer than 4k examples, whose k nearest are not near.

    Raises:
        InputError: for labels that are no classes, or a class of no more than ``neighbours`` examples.

    Cost: O(n c (log n + k)) for each component.

    Source: the estimator of the code of Paccolat, Petrini, Geiger, Tyloo, Wyart 2021 for two classes; its extension to
    more by the same rule is ours.

    Examples:
        >>> y = torch.arange(100) % 2
        >>> component_information(y + torch.arange(100) / 1000, y)
        Estimate(0.9438 ± 0.00064, n=100)
    """
    n, shape = len(components), components.shape[1:]
    columns = components.reshape(n, -1).double()
    classes, count = as_classes(_as_integers(y).to(columns.device), n)
    sizes = classes.bincount(minlength=1)
    smallest = int(sizes.min())
    if count > 1 and smallest <= neighbours:
        raise InputError(
            f"a class has {smallest} examples, but more than neighbours={neighbours} of each are needed: use more "
            "examples or fewer neighbours"
        )
    value = error = torch.full((columns.shape[1],), torch.nan, dtype=torch.float64, device=columns.device)
    if count > 1:
        gains = entropy(sizes, jackknife=False) - _posterior_entropies(columns, classes, count, neighbours)
        known = torch.isfinite(columns).all(0)
        value, error = torch.where(known, gains.mean(1), value), torch.where(known, gains.std(1) / n**0.5, error)
    return Estimate(
        value=value.reshape(shape),
        standard_error=error.reshape(shape),
        n=torch.full(shape, n),
        converged=torch.isfinite(value.reshape(shape)) & (smallest >= LOCAL * neighbours),
        estimator=f"{neighbours}-nearest-neighbour posterior of each class along one component",
        notes=("positive for a component that knows nothing, by about (1 − 1/c) / (2k ln 2) bits",),
    )


def _as_integers(y: Tensor) -> Tensor:
    """Return real targets that take whole values as integers, for they are classes then."""
    return y.long() if y.is_floating_point() and y.ndim == 1 and bool((y == y.round()).all()) else y


def _posterior_entropies(columns: Tensor, classes: Tensor, count: int, k: int) -> Tensor:
    """Return H(q(xᵢ)) in bits along every component: [r, n]."""
    values = torch.nan_to_num(columns.T).contiguous()
    distances = values.new_empty(count, *values.shape)
    for c in range(count):
        own = classes == c
        members, others = values[:, own], values[:, ~own]
        distances[c][:, own] = nth_distance(members, members, k + 1)  # an example itself is the nearest
        distances[c][:, ~own] = nth_distance(others, members, k)
    touching = distances == 0
    weights = torch.where(touching.any(0), touching.double(), 1 / distances)
    return torch.special.entr(weights / weights.sum(0)).sum(0) / math.log(2)


def nth_distance(values: Tensor, members: Tensor, k: int) -> Tensor:
    """Return the distance from each value to the k-th nearest of some members, all on a line.

    The k nearest stand side by side, so it is the smallest reach max(|x − first|, |x − last|) of a window of k.

    Args:
        values: [..., n].
        members: [..., m], m ≥ k.
        k: counts from 1.

    Returns:
        [..., n].

    Cost: O((n + m) log m + n k).

    Examples:
        >>> nth_distance(torch.tensor([0.0, 4.0]), torch.tensor([1.0, 3.0, 9.0]), 2).tolist()
        [3.0, 3.0]
    """
    members, values = members.sort().values, values.contiguous()
    place = torch.searchsorted(members, values)
    windows = place[..., None] - torch.arange(k + 1, device=values.device)
    first = windows.clamp(0, members.shape[-1] - k).flatten(-2)
    low, high = (members.gather(-1, first + end).unflatten(-1, windows.shape[-2:]) for end in (0, k - 1))
    return torch.maximum((values[..., None] - low).abs(), (high - values[..., None]).abs()).amin(-1)
