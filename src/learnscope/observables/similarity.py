"""Centred kernel alignment: how alike two layers arrange the same examples, up to rotation and scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.observables.features import centred, unit_scale

FEWEST_EXAMPLES = 4


def cka(x: Tensor, y: Tensor, *, debiased: bool = True) -> Tensor:
    """Compute the linear centred kernel alignment HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)), K = XXᵀ, L = YYᵀ.

    Debiased, HSIC is the unbiased estimator of Song et al. 2012, equation 5, as in Nguyen, Raghu and Kornblith
    2021, equation 3. On centred features with kᵢ = ‖xᵢ‖², lᵢ = ‖yᵢ‖² it comes down to

        n(n − 3) HSIC = ‖XᵀY‖² − n/(n − 2) Σ kᵢlᵢ + Σk Σl / ((n − 1)(n − 2)),

    which never needs an n × n matrix. Biased, HSIC = ‖XᵀY‖² (Kornblith et al. 2019), which tends to 1 for
    independent features once there are fewer examples than features.

    Args:
        x: [..., n, d₁] features, any real dtype; float32 and float64 are kept, others promoted.
        y: [..., n, d₂] features of the same examples in the same order; leading dimensions broadcast.
        debiased: which HSIC.

    Returns:
        [...] in [−1, 1] (biased: [0, 1]); 1 for equal features up to rotation, scale and shift; around 0 for
        independent ones. NaN where all examples have the same features (debiased: or differ from each other in
        orthogonal ways only, so that nothing but the bias is left), and where some are not finite.

    Raises:
        InputError: for fewer than 4 examples, or for different numbers of examples.

    Cost: n d₁ d₂ + n d₁² + n d₂² multiplications, d being at most n: wider features are first replaced by n
    combinations with the same Gram matrix. A centred copy of the features.

    Examples:
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
        >>> round(float(cka(x, 3 * x.flip(-1) + 100)), 6)
        1.0
    """
    _check([x, y])
    x, y = _prepared(x), _prepared(y)
    dtype = torch.promote_types(x.dtype, y.dtype)
    cross, own_x, own_y = cross_energy(x.to(dtype), y.to(dtype)), cross_energy(x, x), cross_energy(y, y)
    if not debiased:
        return alignment(cross, own_x, own_y, least=0.0)
    norms_x, norms_y = squared_norms(x), squared_norms(y)
    return alignment(
        debiased_hsic(cross, norms_x, norms_y),
        own_hsic(own_x, norms_x, x.dtype),
        own_hsic(own_y, norms_y, y.dtype),
        least=-1.0,
    )


def cka_matrix(features: Sequence[Tensor]) -> Tensor:
    """Compute the debiased linear CKA of all pairs of layers, see :func:`cka`.

    Args:
        features: L tensors [n, d_l], the same examples in the same order.

    Returns:
        [L, L] float64, symmetric; NaN in the row and column of a constant layer.

    Raises:
        InputError: for no features, fewer than 4 examples, other than matrices, or different numbers of examples.

    Cost: n (Σ d)² / 2 multiplications in the precision of the features, in one product a layer; a centred
    copy of all features and a matrix max d × Σ d.

    Examples:
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
        >>> cka_matrix([x, 2 * x]).round(decimals=6).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    if any(h.ndim != 2 for h in features):
        shapes = [tuple(h.shape) for h in features]
        raise InputError(f"features of shapes {shapes} were given, but each must be a matrix: use h.flatten(1)")
    _check(features)
    layers = [_prepared(h) for h in features]
    dtype = torch.float64 if any(layer.dtype == torch.float64 for layer in layers) else torch.float32
    norms = torch.stack([squared_norms(layer) for layer in layers])
    energy = _pairwise_energy([layer.to(dtype) for layer in layers])
    own = own_hsic(energy.diagonal(), norms, dtype)
    hsic = debiased_hsic(energy, norms[:, None], norms[None])
    return alignment(hsic, own[:, None], own[None], least=-1.0)


def alignment(cross: Tensor, own_x: Tensor, own_y: Tensor, *, least: float) -> Tensor:
    """Return cross / √(own_x · own_y) clipped to [least, 1]; NaN where either layer has no spread at all."""
    return (cross / (own_x.sqrt() * own_y.sqrt())).clamp(least, 1.0)


def debiased_hsic(energy: Tensor, norms_x: Tensor, norms_y: Tensor) -> Tensor:
    """Return n(n − 3) HSIC = ‖XᵀY‖² − n/(n − 2) Σ kᵢlᵢ + Σk Σl / ((n − 1)(n − 2)) of centred features.

    Args:
        energy: [...] ‖XᵀY‖², float64.
        norms_x: [..., n] kᵢ = ‖xᵢ‖².
        norms_y: [..., n] lᵢ = ‖yᵢ‖².
    """
    n = norms_x.shape[-1]
    product = norms_x.sum(-1) * norms_y.sum(-1)
    return energy - n / (n - 2) * (norms_x * norms_y).sum(-1) + product / ((n - 1) * (n - 2))


def own_hsic(energy: Tensor, norms: Tensor, dtype: torch.dtype) -> Tensor:
    """Return n(n − 3) HSIC of a layer with itself; NaN where that is but the rounding of ``dtype``."""
    hsic = debiased_hsic(energy, norms, norms)
    return torch.where(hsic > 64 * torch.finfo(dtype).eps * energy, hsic, torch.nan)


def cross_energy(x: Tensor, y: Tensor) -> Tensor:
    """Return ‖XᵀY‖² of [..., n, d₁] and [..., n, d₂], the squares summed in float64: [...]."""
    return torch.linalg.vector_norm(x.mT @ y, dim=(-2, -1), dtype=torch.float64).square()


def squared_norms(x: Tensor) -> Tensor:
    """Return ‖xᵢ‖² of every example, summed in float64: [..., n, d] → [..., n]."""
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.float64).square()


def _pairwise_energy(layers: Sequence[Tensor]) -> Tensor:
    """Return ‖XᵢᵀXⱼ‖² of all pairs [L, L] from one product per layer with itself and all that follow."""
    widths = [layer.shape[1] for layer in layers]
    joined = torch.cat(list(layers), dim=1)
    energy = torch.zeros(len(layers), len(layers), dtype=torch.float64, device=joined.device)
    start = 0
    for i, layer in enumerate(layers):
        blocks = (layer.mT @ joined[:, start:]).split(widths[i:], dim=1)
        norms = [torch.linalg.vector_norm(block, dtype=torch.float64) for block in blocks]
        energy[i, i:] = energy[i:, i] = torch.stack(norms).square()
        start += widths[i]
    return energy


def _prepared(h: Tensor) -> Tensor:
    """Return centred features of unit scale with at most n columns and the same Gram matrix up to that scale."""
    x, _ = unit_scale(centred(h))
    if x.shape[-1] <= x.shape[-2]:
        return x
    finite = torch.isfinite(x).all(dim=-1).all(dim=-1)
    reduced = torch.linalg.qr(torch.where(finite[..., None, None], x, 0.0).mT, mode="r").R.mT
    return torch.where(finite[..., None, None], reduced, torch.nan)


def _check(features: Sequence[Tensor]) -> None:
    """Raise unless all features have examples and columns, at least 4 examples, and equally many."""
    if not features:
        raise InputError("no features were given, but those of at least one layer are needed")
    for h in features:
        if h.ndim < 2 or h.shape[-2] < FEWEST_EXAMPLES or h.shape[-1] < 1:
            raise InputError(
                f"features of shape {tuple(h.shape)} were given, but [..., examples, features] with at least "
                f"{FEWEST_EXAMPLES} examples is needed: use a larger probe"
            )
    counts = sorted({h.shape[-2] for h in features})
    if len(counts) > 1:
        raise InputError(f"layers have {counts} examples, but all must see the same ones in the same order")
