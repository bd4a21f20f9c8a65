"""Standard errors from the influence of each example on a statistic (delta method; Hampel 1974).

If a statistic changes by IFᵢ ε when a share ε of the distribution moves to example i, its standard error is the
standard deviation of IFᵢ over √n. To first order, the examples being independent; nothing is said of bias.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learnscope.observables.canonical_correlation import Basis, basis_cka
from learnscope.observables.features import as_classes, centred, unit_scale


def _standard_error(influence: Tensor) -> Tensor:
    return torch.std(influence, -1) / influence.shape[-1] ** 0.5


def participation_ratio_and_error(h: Tensor) -> tuple[Tensor, Tensor]:
    """Return (tr C)² / tr C², see :func:`learnscope.observables.representation.participation_ratio`, and its error.

    With qᵢ = ‖xᵢ‖² and sᵢ = xᵢᵀ C xᵢ of centred features, IFᵢ = 2 PR (qᵢ / tr C - sᵢ / tr C²).

    Args:
        h: [..., n, d], any real dtype.

    Returns:
        Twice [...] float64; NaN where the features are constant or not finite.

    Cost: 2 n d min(n, d) multiplications in the precision of ``h``.

    Examples:
        >>> signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> [float(part) for part in participation_ratio_and_error(signs)]  # every example has the same share in it
        [2.0, 0.0]
    """
    x = unit_scale(centred(h))[0]
    n, d = x.shape[-2:]
    squares = torch.linalg.vector_norm(x, dim=-1, dtype=torch.float64).square()
    quartic = ((x @ (x.mT @ x)) * x if d <= n else (x @ x.mT).square()).sum(-1, dtype=torch.float64) / n
    trace, trace_of_square = squares.mean(-1, keepdim=True), quartic.mean(-1, keepdim=True)
    ratio = trace.square() / trace_of_square
    return ratio[..., 0], _standard_error(2 * ratio * (squares / trace - quartic / trace_of_square))


def class_variance_ratio_and_error(h: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return W / B, see :func:`learnscope.observables.representation.class_variance_ratio`, and its standard error.

    For an example of class c, with wᵢ = ‖xᵢ - μ_c‖² and δ = μ_c - μ: IF_W = wᵢ - W and
    IF_B = ‖δ‖² - B + 2 δ·(xᵢ - μ_c), so IF = W / B (IF_W / W - IF_B / B).

    Args:
        h: [n, d], any real dtype; computed in float64.
        y: [n] integer classes.

    Returns:
        Twice [] float64; NaN for one class or constant features.

    Cost: O(n d).

    Examples:
        >>> h = torch.tensor([[0.0], [2.0], [10.0], [12.0]])
        >>> [round(float(part), 4) for part in class_variance_ratio_and_error(h, torch.tensor([0, 0, 1, 1]))]
        [0.04, 0.0092]
    """
    classes, count = as_classes(y.to(h.device), len(h))
    x = unit_scale(centred(h.double()))[0]
    if count < 2:
        return x.new_tensor(torch.nan), x.new_tensor(torch.nan)
    means = x.new_zeros(count, x.shape[1]).index_add_(0, classes, x) / classes.bincount()[:, None]
    centres = means[classes]
    inner = x - centres
    within, apart = torch.linalg.vecdot(inner, inner), torch.linalg.vecdot(centres, centres)
    w, b = within.mean(), apart.mean()
    toward = apart - b + 2 * torch.linalg.vecdot(centres, inner)
    return w / b, _standard_error(w / b * ((within - w) / w - toward / b))


def cka_error(a: Basis, b: Basis) -> Tensor:
    """Return the standard error of the linear CKA of two layers, from their bases.

    With M = XᵀY, aᵢ = xᵢ M yᵢᵀ and H = Σ aᵢ = ‖M‖², and likewise for each layer with itself,
    IFᵢ = 2 n CKA (aᵢ / H - aᵢ(X, X) / 2 H(X, X) - aᵢ(Y, Y) / 2 H(Y, Y)).

    Args:
        a: basis of one layer, [..., n, r].
        b: basis of the other; leading dimensions broadcast.

    Returns:
        [...] float64; 0 for equal layers, NaN where a rank is 0.

    Cost: n rₐ r_b multiplications.

    Examples:
        >>> from learnscope.observables.canonical_correlation import principal_basis
        >>> basis = principal_basis(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0]]))
        >>> round(float(cka_error(basis, basis)), 6)
        0.0
    """
    x = a.vectors.double() * a.singular_values.double()[..., None, :]
    y = b.vectors.double() * b.singular_values.double()[..., None, :]
    cross = ((x @ (x.mT @ y)) * y).sum(-1)
    own_x = (x.square() * a.singular_values.double().square()[..., None, :]).sum(-1)
    own_y = (y.square() * b.singular_values.double().square()[..., None, :]).sum(-1)
    shares = (part / part.sum(-1, keepdim=True) for part in (cross, own_x, own_y))
    both, mine, other = shares
    influence = 2 * x.shape[-2] * (both - mine / 2 - other / 2)
    return basis_cka(a, b).abs() * _standard_error(influence)
