"""Alignment of a kernel with the labels: how much of it is the kernel that knows nothing but the answer."""

from __future__ import annotations

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.observables.features import as_classes, promoted


def alignment(kernel: Tensor, y: Tensor, *, centred: bool = False) -> Tensor:
    """Compute A(K, y) = ⟨K, YYᵀ⟩ / (‖K‖ ‖YYᵀ‖) in the Frobenius product, with Y the targets of the labels.

    For y = ±1 this is yᵀKy / (‖K‖ n). It is 1 for the ideal kernel yyᵀ. Centred, both kernels lose their mean in
    feature space first, K ↦ HKH with H = I − 11ᵀ/n, so that neither a constant nor unbalanced classes count.

    Args:
        kernel: [..., n, n] Gram matrices of the same examples, any real dtype; computed in float64.
        y: [n] classes as integers or booleans, or [n] or [n, outputs] real targets; see :func:`label_targets`.
        centred: whether to centre both kernels.

    Returns:
        [...] float64, in [0, 1] for a Gram matrix up to rounding. NaN where a kernel is zero (centred: constant) or not
        finite, and for a single class.

    Raises:
        InputError: for kernels that are not square, or labels that do not fit.

    Cost: O(n² outputs) time; one float64 copy of the kernels.

    Source: Cristianini, Shawe-Taylor, Elisseeff, Kandola 2002; centred: Cortes, Mohri, Rostamizadeh 2012 (JMLR 13),
    definitions 1 and 4.

    Examples:
        >>> y = torch.tensor([1.0, 1.0, -1.0, -1.0])
        >>> float(alignment(torch.outer(y, y), y)), float(alignment(torch.eye(4), y))
        (1.0, 0.5)
    """
    if kernel.ndim < 2 or kernel.shape[-1] != kernel.shape[-2] or not kernel.shape[-1]:
        raise InputError(f"the kernel has the shape {list(kernel.shape)}, but [..., n, n] with n > 0 is needed")
    gram, targets = promoted(kernel).double(), label_targets(y.to(kernel.device), kernel.shape[-1])
    if centred:
        gram, targets = centred_gram(gram), targets - targets.mean(0)
    norms = torch.linalg.matrix_norm(gram) * torch.linalg.matrix_norm(targets.mT @ targets)
    return (targets * (gram @ targets)).sum((-2, -1)) / norms


def centred_gram(kernel: Tensor) -> Tensor:
    """Return HKH [..., n, n], H = I − 11ᵀ/n: the kernel after its mean in feature space is subtracted.

    Examples:
        >>> centred_gram(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).tolist()
        [[0.5, -0.5], [-0.5, 0.5]]
    """
    rows = kernel - kernel.mean(-1, keepdim=True)
    return rows - rows.mean(-2, keepdim=True)


def label_targets(y: Tensor, n: int) -> Tensor:
    """Return the targets Y that labels stand for, [n, outputs] float64, with YYᵀ the ideal kernel.

    Real labels are themselves. c classes become the corners of a regular simplex of radius 1, √(c/(c − 1)) (e_y − 1/c):
    then ⟨Yᵢ, Yⱼ⟩ is 1 within a class and −1/(c − 1) between two, which for two classes is the product of y = ±1. A
    single class becomes zero, for it tells nothing apart.

    Args:
        y: [n] classes as integers or booleans, any values; or [n] or [n, outputs] real targets.
        n: number of examples.

    Raises:
        InputError: for labels of another shape.

    Examples:
        >>> Y = label_targets(torch.tensor([0, 0, 1]), 3)
        >>> (Y @ Y.T).round().tolist()
        [[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
    """
    if y.is_floating_point():
        if y.ndim not in (1, 2) or len(y) != n:
            raise InputError(f"targets of shape {tuple(y.shape)} were given for {n} examples: give [{n}] or [{n}, k]")
        return y.detach().double().reshape(n, -1)
    classes, count = as_classes(y, n)
    corners = torch.eye(count, dtype=torch.float64, device=y.device) - 1 / count
    return corners[classes] * (count / max(count - 1, 1)) ** 0.5
