"""Centred kernel alignment from the full Gram matrices."""

from __future__ import annotations

import torch
from torch import Tensor


def debiased_hsic(K: Tensor, L: Tensor) -> Tensor:
    """Return the unbiased HSIC of Song et al. 2012, equation 5, from Gram matrices [n, n]."""
    n = len(K)
    K, L = K - torch.diag(K.diagonal()), L - torch.diag(L.diagonal())
    ones = torch.ones(n, dtype=K.dtype)
    middle = (ones @ K @ ones) * (ones @ L @ ones) / ((n - 1) * (n - 2))
    return ((K @ L).trace() + middle - 2 / (n - 2) * (ones @ K @ L @ ones)) / (n * (n - 3))


def biased_hsic(K: Tensor, L: Tensor) -> Tensor:
    """Return tr(K H L H) / (n − 1)², H = I − 11ᵀ/n (Gretton et al. 2005)."""
    n = len(K)
    H = torch.eye(n, dtype=K.dtype) - 1 / n
    return (K @ H @ L @ H).trace() / (n - 1) ** 2


def cka(x: Tensor, y: Tensor, *, debiased: bool = True) -> Tensor:
    """Return HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) of features [n, d₁], [n, d₂] with linear kernels."""
    hsic = debiased_hsic if debiased else biased_hsic
    x, y = x.double() - x.double().mean(0), y.double() - y.double().mean(0)
    K, L = x @ x.T, y @ y.T
    return hsic(K, L) / (hsic(K, K) * hsic(L, L)).sqrt()
