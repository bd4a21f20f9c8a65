"""What training does to the outputs of a linearised network, in closed form.

The loss is L = 1/(2n) Σ_i ‖f(x_i) − y_i‖² over n training examples throughout. Gradient flow dθ/dt = −∇L and gradient
descent θ ← θ − η ∇L move the outputs of a linearised network along the eigenvectors of its tangent kernel K, at rates
λ/n. A time or learning rate on the mean of squares without the ½ counts double here, and one on half the sum of
squares counts n times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.kernels.gram import as_cross, as_gram, spectrum


class Prediction(NamedTuple):
    """Outputs on training and test examples, in the shapes of the initial ones, after the dimensions of the times."""

    train: Tensor
    test: Tensor


def gradient_flow_prediction(
    kernel_train: Tensor,
    kernel_test_train: Tensor,
    targets: Tensor,
    initial_train: Tensor,
    initial_test: Tensor,
    time: float | Tensor,
) -> Prediction:
    """Return the outputs of a linearised network under gradient flow on L = 1/(2n) Σ ‖f(x_i) − y_i‖², at any time.

    With K = K(X, X) on the training examples, and K⁺(...) on the span of its eigenvectors of positive eigenvalue,

        f_t(X) = f₀(X) + (1 − e^{−K t/n}) (y − f₀(X)),   f_t(x) = f₀(x) + K(x, X) K⁺ (1 − e^{−K t/n}) (y − f₀(X)).

    Directions in which K vanishes up to rounding do not move. ``math.inf`` is the solution that moves the parameters
    least.

    Args:
        kernel_train: [n, n] tangent kernel of the training examples, of one output or the same for each; or
            [n, n, outputs, outputs].
        kernel_test_train: [m, n], or [m, n, outputs, outputs].
        targets: [n] or [n, outputs] y.
        initial_train: f₀(X), of the shape of the targets.
        initial_test: [m] or [m, outputs] f₀(x).
        time: t ≥ 0, a number or [T].

    Returns:
        Outputs of the shapes of the initial ones, after [T] if there is one; in the dtype of ``kernel_train``.

    Raises:
        InputError: for shapes that do not fit, a kernel that is not finite, symmetric and positive semidefinite, or
            a negative time.

    Cost: an eigendecomposition, O((n outputs)³), and O(n (n + m)) an output and time.

    Source: Jacot, Gabriel, Hongler 2018, section 5; Lee, Xiao et al. 2019, section 2.2.

    Examples:
        >>> one, zero = torch.ones(1, 1), torch.zeros(1)
        >>> gradient_flow_prediction(2 * one, one, torch.ones(1), zero, zero, 0.5).train.tolist()  # 1 − 1/e
        [0.632]
    """
    times = torch.as_tensor(time, dtype=kernel_train.dtype, device=kernel_train.device)
    if not bool((times >= 0).all()):
        raise InputError(f"the least time is {float(times.min()):g}: gradient flow is followed from 0 on.")

    def share(rates: Tensor) -> Tensor:
        return -torch.expm1(-rates * times[..., None])

    return _predicted(kernel_train, kernel_test_train, targets, initial_train, initial_test, share)


def gradient_descent_prediction(
    kernel_train: Tensor,
    kernel_test_train: Tensor,
    targets: Tensor,
    initial_train: Tensor,
    initial_test: Tensor,
    learning_rate: float,
    steps: int | Tensor,
) -> Prediction:
    """Return the outputs of a linearised network after steps of gradient descent on L = 1/(2n) Σ ‖f(x_i) − y_i‖².

    As :func:`gradient_flow_prediction` with (1 − η K/n)^s for e^{−K t/n}. It converges below
    :func:`max_learning_rate`, and grows without bound above.

    Args:
        kernel_train: [n, n], or [n, n, outputs, outputs].
        kernel_test_train: [m, n], or [m, n, outputs, outputs].
        targets: [n] or [n, outputs] y.
        initial_train: f₀(X), of the shape of the targets.
        initial_test: [m] or [m, outputs] f₀(x).
        learning_rate: η > 0.
        steps: s ≥ 0, a whole number or [T].

    Returns:
        Outputs of the shapes of the initial ones, after [T] if there is one; in the dtype of ``kernel_train``.

    Raises:
        InputError: as :func:`gradient_flow_prediction`; for a learning rate that is not positive, or negative or
            broken steps.

    Cost: as :func:`gradient_flow_prediction`.

    Examples:
        >>> one, zero = torch.ones(1, 1), torch.zeros(1)
        >>> gradient_descent_prediction(2 * one, one, torch.ones(1), zero, zero, 0.25, 2).train.tolist()  # 1 − ½²
        [0.75]
    """
    counts = torch.as_tensor(steps, dtype=kernel_train.dtype, device=kernel_train.device)
    if not learning_rate > 0:
        raise InputError(f"the learning rate is {learning_rate:g}: gradient descent takes a positive one.")
    if not bool(((counts >= 0) & (counts == counts.round())).all()):
        raise InputError(f"steps are {steps}: give whole numbers from 0 on.")

    def share(rates: Tensor) -> Tensor:
        moved, s = learning_rate * rates, counts[..., None]
        slow = -torch.expm1(s * torch.log1p(-moved.clamp(max=0.5)))  # keeps the digits of small shares
        return torch.where(moved < 0.5, slow, 1 - (1 - moved) ** s)

    return _predicted(kernel_train, kernel_test_train, targets, initial_train, initial_test, share)


def max_learning_rate(kernel: Tensor) -> Tensor:
    """Return 2n / λ_max, below which gradient descent on L = 1/(2n) Σ ‖f(x_i) − y_i‖² converges: a scalar.

    Args:
        kernel: [n, n] or [n, n, outputs, outputs] tangent kernel of the training examples.

    Raises:
        InputError: for a kernel that is not finite, symmetric and positive semidefinite.

    Cost: the eigenvalues of the kernel; :class:`learnscope.kernels.TangentOperator` finds the largest without it.

    Examples:
        >>> float(max_learning_rate(torch.diag(torch.tensor([1.0, 4.0]))))  # 2 · 2 / 4
        1.0
    """
    return 2 * len(kernel) / spectrum(as_gram(_as_matrix(kernel))).values[-1]


def _predicted(
    kernel_train: Tensor,
    kernel_test_train: Tensor,
    targets: Tensor,
    initial_train: Tensor,
    initial_test: Tensor,
    share: Callable[[Tensor], Tensor],
) -> Prediction:
    """Return predictions, given what share of each mode is learned at rates λ/n [r]: [T, r]."""
    n, m = len(kernel_train), len(kernel_test_train)
    rows = kernel_train.shape[2:3]  # outputs, where these are rows of the kernel
    fits = targets.shape == (n, *(rows or targets.shape[1:])) == initial_train.shape
    if not fits or initial_test.shape != (m, *targets.shape[1:]):
        raise InputError(
            f"targets {list(targets.shape)} and initial outputs {list(initial_train.shape)} and "
            f"{list(initial_test.shape)} do not fit kernels {list(kernel_train.shape)} and "
            f"{list(kernel_test_train.shape)}: give [{n}], [{n}] and [{m}], or with outputs as a second dimension."
        )
    gram = as_gram(_as_matrix(kernel_train))
    cross = as_cross(_as_matrix(kernel_test_train), len(gram)).to(gram)
    values, vectors = spectrum(gram)
    modes = vectors.mT @ (targets - initial_train).to(gram).reshape(len(gram), -1)
    positive = values > 0
    learned = torch.where(positive, share(values / n), 0.0)
    weights = torch.where(positive, learned / torch.where(positive, values, 1.0), 0.0)
    train = vectors @ (learned[..., None] * modes)
    test = cross @ (vectors @ (weights[..., None] * modes))
    lead = train.shape[:-2]
    return Prediction(
        initial_train.to(gram) + train.reshape(*lead, *initial_train.shape),
        initial_test.to(gram) + test.reshape(*lead, *initial_test.shape),
    )


def _as_matrix(kernel: Tensor) -> Tensor:
    """Return a kernel [n, m, outputs, outputs] as [n outputs, m outputs]; a matrix as it is."""
    return kernel.transpose(1, 2).flatten(2).flatten(0, 1) if kernel.ndim == 4 else kernel
