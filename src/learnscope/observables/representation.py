"""How a layer spreads its examples: over how many directions, and within or between classes."""

from __future__ import annotations

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.observables.features import as_classes, centred, unit_scale


def participation_ratio(h: Tensor) -> Tensor:
    """Compute (tr C)² / tr C² of the covariance C: how many directions share the variance.

    It is 1 when all variance lies along one direction and d when it is the same in all d (Recanatesi et al.
    2019; Litwin-Kumar et al. 2017). Estimated from n examples it is below n/(1 + n/d).

    Args:
        h: [..., n, d] features, any real dtype.

    Returns:
        [...] float64; NaN where all examples have the same features or some are not finite.

    Raises:
        InputError: for fewer than two dimensions or no examples.

    Cost: n d min(n, d) multiplications in the precision of ``h``; a centred copy and the smaller Gram matrix.

    Examples:
        >>> float(participation_ratio(torch.cat([torch.eye(3), -torch.eye(3)])).round(decimals=4))
        3.0
    """
    if h.ndim < 2 or 0 in h.shape[-2:]:
        raise InputError(f"features of shape {tuple(h.shape)} were given, but [..., examples, features] is needed")
    x = unit_scale(centred(h))[0]
    gram = x.mT @ x if x.shape[-1] <= x.shape[-2] else x @ x.mT
    trace = torch.linalg.vector_norm(x, dim=(-2, -1), dtype=torch.float64).square()
    return trace.square() / torch.linalg.vector_norm(gram, dim=(-2, -1), dtype=torch.float64).square()


def class_variance_ratio(h: Tensor, y: Tensor) -> Tensor:
    """Compute tr(S_W) / tr(S_B): variance within classes over variance between them.

    S_W = Σᵢ (xᵢ − μ_{yᵢ})(xᵢ − μ_{yᵢ})ᵀ / n and S_B = Σ_c n_c (μ_c − μ)(μ_c − μ)ᵀ / n. It falls towards 0 as
    classes collapse to their means (Papyan, Han, Donoho 2020 use tr(S_W S_B⁺), which also weighs directions).

    Args:
        h: [..., n, d] features, any real dtype.
        y: [n] classes as integers.

    Returns:
        [...] float64; NaN for one class or for constant features, infinite when all class means coincide.

    Raises:
        InputError: for labels of another shape or that are not integers.

    Cost: O(n d) time; two float64 copies of the features.

    Examples:
        >>> h = torch.tensor([[0.0], [2.0], [10.0], [12.0]])
        >>> float(class_variance_ratio(h, torch.tensor([0, 0, 1, 1])))
        0.04
    """
    if h.ndim < 2 or 0 in h.shape[-2:]:
        raise InputError(f"features of shape {tuple(h.shape)} were given, but [..., examples, features] is needed")
    classes, count = as_classes(y.to(h.device), h.shape[-2])
    x = unit_scale(centred(h.double()))[0]
    if count < 2:
        return torch.full(h.shape[:-2], torch.nan, dtype=torch.float64, device=h.device)
    sizes = classes.bincount().double()
    sums = x.new_zeros(*x.shape[:-2], count, x.shape[-1]).index_add_(-2, classes, x)
    means = sums / sizes[:, None]
    between = (sizes * means.square().sum(-1)).sum(-1)
    within = torch.linalg.vector_norm(x - means[..., classes, :], dim=(-2, -1)).square()
    return within / between
