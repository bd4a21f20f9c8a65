"""What kernel ridge regression will get wrong on new examples, from the spectrum of the kernel."""

from __future__ import annotations

from typing import cast

import torch
from scipy.optimize import brentq
from torch import Tensor

from learnscope.errors import InputError


def expected_error(
    eigenvalues: Tensor, multiplicities: Tensor, powers: Tensor, n_train: int, *, ridge: float, noise: float = 0.0
) -> float:
    """Return the expected mean squared error of kernel ridge regression on new examples, noise in them left out.

    The prediction is K(x, X)(K(X, X) + ridge)⁻¹ y with y = f(X) + noise. With the effective ridge κ > 0 such that

        n = Σ_k N_k λ_k/(λ_k + κ) + ridge/κ   and learnabilities   L_k = λ_k/(λ_k + κ),

    the error is [Σ_k (1 - L_k)² v_k + σ²]/(1 - Σ_k N_k L_k²/n) - σ², v_k the mean square of the target's part in
    eigenspace k. It is derived for Gaussian features, and accurate for rotation-invariant kernels on spheres.

    Args:
        eigenvalues: [k] λ_k ≥ 0 under the distribution of the inputs.
        multiplicities: [k] N_k.
        powers: [k] v_k.
        n_train: n, examples to learn from.
        ridge: δ; may be 0 where n is less than the number of positive eigenvalues. Eigenvalues that are left out, of
            high degrees, act as a ridge of their sum.
        noise: σ, standard deviation of the labels' noise.

    Raises:
        InputError: for shapes that differ, a number of examples that is not positive, a negative ridge or eigenvalue,
            or a kernel of rank at most n without ridge.

    Cost: O(k).

    Source: Bordelon, Canatar, Pehlevan 2020, equation 6; in the form of Simon, Dickens, Karkada, DeWeese 2021,
        section 4.

    Examples:
        >>> one = torch.ones(1, dtype=torch.float64)  # a thousand equal modes and 500 examples: a half is learned
        >>> print(round(expected_error(one, 1000 * one, one, 500, ridge=0.0), 3))
        0.5
    """
    _check(eigenvalues, multiplicities, powers, n_train, ridge)

    def excess(kappa: float) -> float:
        return float((multiplicities * eigenvalues / (eigenvalues + kappa)).sum()) + ridge / kappa - n_train

    most = (float((multiplicities * eigenvalues).sum()) + ridge) / n_train
    kappa = cast(float, brentq(excess, most * 1e-15, most * (1 + 1e-9), xtol=most * 1e-18))
    learned = eigenvalues / (eigenvalues + kappa)
    fitting = 1 - float((multiplicities * learned.square()).sum()) / n_train
    return (float(((1 - learned).square() * powers).sum()) + noise**2) / fitting - noise**2


def _check(eigenvalues: Tensor, multiplicities: Tensor, powers: Tensor, n_train: int, ridge: float) -> None:
    if not eigenvalues.shape == multiplicities.shape == powers.shape or eigenvalues.ndim != 1:
        shapes = [list(each.shape) for each in (eigenvalues, multiplicities, powers)]
        raise InputError(f"eigenvalues, multiplicities and powers have the shapes {shapes}: give three of one [k].")
    if n_train < 1 or ridge < 0 or not bool((eigenvalues >= 0).all()) or not bool(torch.isfinite(eigenvalues).all()):
        raise InputError(
            f"n_train={n_train}, ridge={ridge:g}, least eigenvalue {float(eigenvalues.min()):g}: "
            "give at least one example, and finite numbers from 0 on."
        )
    rank = float(multiplicities[eigenvalues > 0].sum())
    if rank == 0 or (ridge == 0 and rank <= n_train):
        raise InputError(
            f"a kernel of rank {rank:g} fits {n_train} examples without ridge exactly or not at all: give a ridge."
        )
