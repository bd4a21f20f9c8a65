"""What a simple classifier reads off a layer: a linear probe and a vote of neighbours, each leave-one-out."""

from __future__ import annotations

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.estimate import Estimate
from learnscope.observables.features import as_classes, as_matrix, centred
from learnscope.observables.neighbours import Neighbours, nearest_neighbours
from learnscope.observables.spectra import gram

# Ridges as multiples of the mean eigenvalue of the correlation matrix.
RIDGES = torch.logspace(-6, 3, 10, dtype=torch.float64)


def linear_probe_accuracy(h: Tensor, y: Tensor) -> Estimate:
    """Estimate the accuracy of a linear classifier on a layer, leaving out one example at a time, exactly.

    Ridge regression with an intercept from standardised features X to one-hot labels Y; the largest answer
    wins. With the hat matrix H = 11ᵀ/n + X(XᵀX + λI)⁻¹Xᵀ the answer for example i without it in the training
    set is yᵢ − (yᵢ − ŷᵢ)/(1 − Hᵢᵢ), so that nothing is fitted again (Allen 1974). λ comes from 10 values,
    10⁻⁶ to 10³ times the mean eigenvalue of XᵀX, by the leave-one-out squared error. Means and deviations
    of the features are those of all examples. Linear probes: Alain and Bengio 2016.

    Args:
        h: [n, d] features, any real dtype.
        y: [n] classes as integers.

    Returns:
        A scalar estimate with binomial standard error √(p(1 − p)/n); NaN, not converged, for a single class;
        not converged when a class has a single example, which then cannot be predicted.

    Raises:
        InputError: for features that are not a finite matrix of 2 rows, or labels that are not [n] integers.

    Cost: n d min(n, d) + O(min(n, d)³) + 10 n min(n, d) classes multiplications in float64; two float64
    copies of the features.

    Examples:
        >>> h = torch.tensor([[-2.0], [-1.0], [-1.5], [1.0], [2.0], [1.5]])
        >>> float(linear_probe_accuracy(h, torch.tensor([0, 0, 0, 1, 1, 1])))
        1.0
    """
    h = as_matrix(h, least=2)
    classes, count = as_classes(y.to(h.device), len(h))
    if count < 2:
        return _accuracy(None, classes, "ridge classifier, leave-one-out")
    x = centred(h.double())
    deviation = x.square().mean(dim=0).sqrt()
    vectors, energies = _decomposition(x / torch.where(deviation > 0, deviation, 1.0))
    targets = torch.nn.functional.one_hot(classes).double()
    ridges = _ridges(energies)
    errors = _left_out(vectors, energies, targets, ridges)
    best = int(errors.square().sum((1, 2)).argmin())
    notes = (f"ridge {float(ridges[best]):.3g}, chosen by leave-one-out squared error",)
    return _accuracy((targets - errors[best]).argmax(dim=1), classes, "ridge classifier, leave-one-out", notes)


def knn_accuracy(h: Tensor, y: Tensor, k: int = 5, neighbours: Neighbours | None = None) -> Estimate:
    """Estimate the accuracy of a vote of the k nearest other examples; ties go to the nearest of the tied.

    Args:
        h: [n, d] features, any real dtype.
        y: [n] classes as integers.
        k: number of votes.
        neighbours: ``nearest_neighbours(h, at least k)``; searched for when absent.

    Returns:
        A scalar estimate with binomial standard error √(p(1 − p)/n); NaN, not converged, for a single class.

    Raises:
        InputError: for k outside 1 ... n − 1, neighbours of other data or too few of them, features that are not
            a finite matrix, or labels that are not [n] integers.

    Cost: the search, see ``nearest_neighbours``; O(n k²) beyond.

    Examples:
        >>> h = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        >>> float(knn_accuracy(h, torch.tensor([0, 0, 1, 1]), k=1))
        1.0
    """
    h = as_matrix(h, least=2)
    classes, count = as_classes(y.to(h.device), len(h))
    if count < 2:
        return _accuracy(None, classes, f"{k} nearest neighbours, leave-one-out")
    if neighbours is None:
        neighbours = nearest_neighbours(h, k)
    n, found = neighbours.indices.shape
    if n != len(h) or not 1 <= k <= found:
        raise InputError(
            f"{found} neighbours of {n} examples were given for k = {k} and {len(h)} examples: "
            "search them with nearest_neighbours(h, k)"
        )
    voters = classes[neighbours.indices[:, :k]]
    votes = (voters[:, :, None] == voters[:, None, :]).sum(-1)
    winner = votes.argmax(dim=1, keepdim=True)
    return _accuracy(voters.gather(1, winner).squeeze(1), classes, f"{k} nearest neighbours, leave-one-out")


def _decomposition(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return left singular vectors [n, r] and squared singular values [r] by the smaller Gram matrix."""
    n, d = x.shape
    energies, vectors = torch.linalg.eigh(gram(x if d <= n else x.mT))
    kept = energies > max(n, d) * torch.finfo(x.dtype).eps * energies[-1].clamp(min=0)
    energies, vectors = energies[kept], vectors[:, kept]
    return (x @ (vectors / energies.sqrt()) if d <= n else vectors), energies


def _ridges(energies: Tensor) -> Tensor:
    """Return the ridges to try, for squared singular values [r]; ones where all features are constant."""
    scale = energies.mean() if len(energies) else energies.new_ones(())
    return RIDGES.to(energies.device) * scale


def _left_out(vectors: Tensor, energies: Tensor, targets: Tensor, ridges: Tensor) -> Tensor:
    """Return the error for each example of the regression without it, for all ridges: [ridges, n, classes]."""
    shrinkage = energies / (energies + ridges[:, None])
    centred_targets = (targets - targets.mean(dim=0)).mT
    coefficients = shrinkage[:, None, :] * (centred_targets @ vectors)
    fitted = (coefficients.flatten(0, 1) @ vectors.mT).view(len(ridges), -1, len(targets))
    leverage = 1 / len(targets) + shrinkage @ vectors.square().mT
    return fitted.sub_(centred_targets).div_(leverage.sub_(1)[:, None, :]).mT


def _accuracy(predicted: Tensor | None, classes: Tensor, estimator: str, notes: tuple[str, ...] = ()) -> Estimate:
    """Return the share of right predictions with its binomial error; NaN where there is but one class."""
    n = len(classes)
    if predicted is None:
        value, notes = classes.new_full((), torch.nan, dtype=torch.float64), ("there is only one class",)
    else:
        value = (predicted == classes).double().mean()
    single = bool((classes.bincount() == 1).any())
    if predicted is not None and single:
        notes = (*notes, "a class with a single example is always missed when that is left out")
    return Estimate(
        value=value,
        standard_error=(value * (1 - value) / n).sqrt(),
        n=torch.tensor(n, device=classes.device),
        converged=torch.isfinite(value) & (not single),
        estimator=estimator,
        notes=notes,
    )
