"""Full-batch gradient descent on networks whose outputs are scaled, many at once.

The predictor is F = α (f − f₀), where f is a network in the parametrisation of the tangent kernel and f₀ what it was at
first, and the loss is

    L = 1/(2n α²) Σ_i (F(x_i) − y_i)².

In function space dF/dt = −Θ (F − y)/n under gradient flow, whatever α is, with Θ the tangent kernel of f. Small α makes
the weights move far (the feature regime), large α hardly at all (the lazy regime). The loss is that of f with targets
f₀ + y/α, so nothing but targets, tolerance and learning rate depends on α. The parametrisation of the mean field,
outputs of order 1/h and learning rates times h, is α = h^(−½).

Sources: L. Chizat, E. Oyallon, F. Bach (2019), On lazy training in differentiable programming; M. Geiger et al. (2019),
Disentangling feature and lazy training in deep neural networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from learnscope.dynamics.stack import Block, Descent, Observer, SquaredError, Stack
from learnscope.errors import InputError
from learnscope.kernels import gradient_descent_prediction
from learnscope.networks.ntk_parametrised import NTKParametrised


def descend(
    network: NTKParametrised,
    weights: Sequence[Tensor],
    x: Tensor,
    y: Tensor,
    *,
    alpha: float | Tensor,
    learning_rate: float | Tensor,
    n_steps: int,
    tolerance: float = 0.0,
    start: float | Tensor | None = None,
    observers: Mapping[str, Observer] | None = None,
    observed_steps: Sequence[int] = (),
) -> Descent:
    """Run W_l ← W_l − η ∂L/∂W_l on L = 1/(2n α²) Σ (F(x_i) − y_i)² with F = α (f − f₀), for every member of a stack.

    A member leaves once the mean of (F − y)² is at most the tolerance or no longer finite. It converges for η below
    :func:`learnscope.kernels.max_learning_rate` of its tangent kernel, 2n/λ_max(Θ), as long as this does not move.

    Args:
        network: f.
        weights: (W₁, ..., W_L) at first, [members, h_l, h_{l-1}], any floating dtype; not changed.
        x: [n, d] examples.
        y: [n] targets.
        alpha: α > 0, one number or [members].
        learning_rate: η, one number or [members].
        n_steps: most steps that are taken.
        tolerance: of the mean squared error of F.
        start: f₀(x), a number, [n] or [members, n]; the outputs at first by default, so that F starts at zero.
        observers: by name, functions of the weights of all members that return [members, ...].
        observed_steps: when they are called.

    Returns:
        The weights at the end, as ``factors``, and how each member came there.

    Raises:
        InputError: for examples, targets or weights whose shapes do not fit, an α that is not positive, or an argument
            that has not one number for each member.

    Cost: 3 n Σ_l h_l h_{l-1} multiplications for a step and member; memory of about three times the weights, and of the
        signals of all members.

    Examples:
        One unit, v max(w, 0) with v = w = 1 at first, learns the target 1 at two scales:

        >>> unit = NTKParametrised(weight_variance=1.0)
        >>> weights = [torch.ones(2, 1, 1), torch.ones(2, 1, 1)]
        >>> end = descend(unit, weights, torch.ones(1, 1), torch.ones(1), alpha=torch.tensor([1.0, 1000.0]),
        ...     learning_rate=0.1, n_steps=200)
        >>> [round(float(v), 3) for v in unit.outputs(end.factors, torch.ones(1, 1))]  # f₀ + y/α
        [2.0, 1.001]
    """
    scale, rate = _checked(weights, x, y, alpha, learning_rate)
    members, like = len(weights[0]), weights[0]
    at_first = network.outputs(weights, x) if start is None else torch.as_tensor(start, dtype=like.dtype)
    targets = (at_first.expand(members, len(x)) + y / scale[:, None])[..., None]
    share = (scale.square() / len(x))[:, None, None].expand_as(targets)
    stack = Stack(weights, SquaredError(targets, share), rate / (2 * scale.square()), 0.0)

    def step(block: Block) -> None:
        signals = network.signals(block.factors, x)
        value, errors = block.loss.value_and_gradient(signals.outputs)
        if block.release(value, tolerance) is None:
            block.move(network.gradients(block.factors, signals, errors))

    steps, observed = stack.watch(step, n_steps, observers or {}, observed_steps)
    for block in filter(lambda block: len(block.members), stack.blocks):
        block.release(block.loss.value(network.signals(block.factors, x).outputs), tolerance)
    return stack.outcome(steps, observed)


def linearised(kernel: Tensor, y: Tensor, initial: Tensor, learning_rates: Tensor, steps: Tensor) -> Tensor:
    """Return what networks that share a tangent kernel would predict if they were linear in their weights.

    The predictor of every member starts at outputs of its own and descends as in :func:`descend`, where α has no place.

    Args:
        kernel: [m, n] tangent kernel at first, of m examples with the first n of them, on which a member is trained.
        y: [n] targets.
        initial: [members, m] F at first.
        learning_rates: [members] η.
        steps: [T, members] numbers of steps.

    Returns:
        F [T, members, m].

    Cost: an eigendecomposition of n × n for each member.

    Source: Lee, Xiao et al. 2019, section 2.2.

    Examples:
        >>> one = torch.ones(1, 1)
        >>> linearised(one, torch.ones(1), torch.zeros(1, 1), torch.tensor([0.5]), torch.tensor([[1], [2]])).tolist()
        [[[0.5]], [[0.75]]]
    """
    n = len(y)
    return torch.stack(
        [
            torch.cat(gradient_descent_prediction(kernel[:n], kernel[n:], y, F[:n], F[n:], float(rate), taken), -1)
            for F, rate, taken in zip(initial, learning_rates, steps.T, strict=True)
        ],
        dim=1,
    )


def _checked(
    weights: Sequence[Tensor], x: Tensor, y: Tensor, alpha: float | Tensor, learning_rate: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Return α and the learning rate of each member, if all arguments fit together."""
    if any(W.ndim != 3 for W in weights):
        shapes = [tuple(W.shape) for W in weights]
        raise InputError(f"weights have shapes {shapes}; give [members, h_l, h_(l-1)], with 1 for one network.")
    if y.shape != x.shape[:1]:
        raise InputError(f"y has shape {tuple(y.shape)}, but x has {len(x)} examples; give one target for each.")
    members = len(weights[0])
    scale, rate = (_for_each(members, value, weights[0]) for value in (alpha, learning_rate))
    if scale is None or rate is None or not bool((scale > 0).all()):
        raise InputError(
            f"alpha is {alpha} and the learning rate {learning_rate}; give a positive α and a rate, or one of each for "
            f"each of the {members} members."
        )
    return scale, rate


def _for_each(members: int, value: float | Tensor, like: Tensor) -> Tensor | None:
    """Return a number for each member, or None where their count does not fit."""
    given = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return given.expand(members) if given.shape in ((), (members,)) else None
