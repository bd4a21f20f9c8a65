"""The training of a module as a problem that is known to be sound, and what is kept of it."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from learnscope.dynamics.margin_losses import MarginLoss
from learnscope.dynamics.shallow.run import GOALS, StoppedBy
from learnscope.errors import InputError
from learnscope.kernels.tangent.capture import Saved
from learnscope.kernels.tangent.functional import call_with
from learnscope.kernels.tangent.selection import refuse_coupled

CACHED = 2**23  # bytes kept for the backward pass that a processor's caches hold: more takes twice as long
PREDICTED = 1000  # examples whose predictions are computed at once


@dataclass(frozen=True, slots=True, eq=False)
class ModuleRun:
    """The training of a module.

    Attributes:
        alpha: α.
        outputs: [p] F on the examples at the end.
        time: at the end; of descent, the learning rate times the steps.
        n_steps: steps tried, those that were refused included.
        stopped_by: the rule that ended it, as in :class:`learnscope.dynamics.shallow.Run`.
        accumulated_error: what the step control's floor let pass, 0 where every step was within the limits.
        times: of the snapshots.
        snapshots: modules of their own: the start, one for each level of the loss that was asked for, and the end. A
            level that was not reached is the end.
    """

    alpha: float
    outputs: Tensor
    time: float
    n_steps: int
    stopped_by: StoppedBy
    accumulated_error: float
    times: tuple[float, ...]
    snapshots: tuple[nn.Module, ...]

    @property
    def converged(self) -> bool:
        """Whether it ended by reaching what it was asked for."""
        return self.stopped_by in GOALS

    @property
    def initial(self) -> nn.Module:
        """The module before training."""
        return self.snapshots[0]

    @property
    def network(self) -> nn.Module:
        """The module after training."""
        return self.snapshots[-1]

    def predict(self, x: Tensor) -> Tensor:
        """Return F(x) = α (f(x) − f₀(x)) of the module after training, [n]."""
        with torch.no_grad():
            moved = [self.network(some) - self.initial(some) for some in x.split(PREDICTED)]
            return self.alpha * torch.cat(moved).reshape(len(x))

    def weight_change(self) -> float:
        """Return ‖θ − θ₀‖ / ‖θ₀‖ over all parameters."""
        before, after = (parameters_to_vector(each.parameters()).detach() for each in (self.initial, self.network))
        return float((after - before).norm() / before.norm())


@dataclass(frozen=True, slots=True, eq=False)
class ModuleProblem:
    """A module, examples x [p, ...] and labels y [p], α and the loss; states are vectors of all trained parameters.

    ``piece`` examples at a time pass through the module.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    alpha: float
    loss: MarginLoss
    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    piece: int

    @property
    def has_margins(self) -> bool:
        """Whether all labels are −1 or +1."""
        return bool((self.y.abs() == 1).all())

    def start(self) -> Tensor:
        """Return the parameters before training."""
        named = dict(self.model.named_parameters())
        return torch.cat([named[name].detach().flatten() for name in self.names])

    def at(self, state: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return a state that gradients are taken in, and f on the examples, or on some rows of them."""
        state = state.detach().requires_grad_()
        with torch.enable_grad():
            return state, self._called(state, self.x if rows is None else self.x[rows])

    def outputs(self, state: Tensor) -> Tensor:
        """Return f on the examples."""
        with torch.no_grad():
            return self._called(state, self.x)

    def pulls(self, predictions: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return ∂L/∂f at the examples, or at some rows of them that L is the mean over, for predictions F there."""
        labels = self.y if rows is None else self.y[rows]
        return self.loss.pull(predictions, labels) / len(labels)

    def velocity(self, state: Tensor, output: Tensor, pulls: Tensor) -> Tensor:
        """Return −∂L/∂θ at a state from :meth:`at`, whose graph it frees, from the pulls where its outputs are."""
        return -torch.autograd.grad(output, state, pulls)[0]

    def mean_loss(self, predictions: Tensor) -> float:
        """Return the mean of ℓ."""
        return float(self.loss.of(predictions, self.y).mean())

    def module(self, state: Tensor) -> nn.Module:
        """Return a module of its own with some parameters."""
        made = copy.deepcopy(self.model)
        named = dict(made.named_parameters())
        with torch.no_grad():
            for name, value in self._named(state).items():
                named[name].copy_(value)
        return made

    def _called(self, state: Tensor, x: Tensor) -> Tensor:
        """Return f on examples; autograd goes backward through the last piece first, and then forgets it."""
        named = self._named(state)
        return torch.cat([call_with(self.model, named, some).reshape(len(some)) for some in x.split(self.piece)])

    def _named(self, state: Tensor) -> dict[str, Tensor]:
        pieces = state.split([shape.numel() for shape in self.shapes])
        return {name: piece.view(shape) for name, piece, shape in zip(self.names, pieces, self.shapes, strict=True)}


def rows_that_count(pulls: Tensor) -> Tensor:
    """Return which of some pulls [p] make up Σ|pull| but for rounding: the others sum to u Σ|pull| at most.

    u is half of the distance from 1 to the next number of their dtype. All count if some are not finite.

    Examples:
        >>> rows_that_count(torch.tensor([0.5, 0.0, -1e-9, -0.5]))
        tensor([0, 3])
    """
    sizes, order = pulls.detach().abs().double().sort(descending=True)
    left = sizes.sum() - sizes.cumsum(0)
    few = (left <= torch.finfo(pulls.dtype).eps / 2 * sizes.sum()).nonzero()
    return order[: int(few[0]) + 1 if len(few) else len(order)].sort().values


class Recorder:
    """The snapshots of one training, at levels of the mean loss."""

    def __init__(self, problem: ModuleProblem, levels: Sequence[float]) -> None:
        if any(low >= high for high, low in itertools.pairwise(levels)):
            raise InputError(f"loss_levels are {list(levels)}; give descending numbers.")
        self.problem, self.levels = problem, list(levels)
        self.times, self.snapshots = [0.0], [problem.module(problem.start())]

    def see(self, time: float, state: Tensor, predictions: Tensor) -> None:
        """Keep a snapshot for each level that the mean loss has reached since the last call."""
        passed = 0
        while passed < len(self.levels) and self.problem.mean_loss(predictions) <= self.levels[passed]:
            passed += 1
        if passed:
            self._keep(time, state, passed)
            self.levels = self.levels[passed:]

    def run(
        self, state: Tensor, predictions: Tensor, time: float, n_steps: int, ended: StoppedBy, error: float = 0.0
    ) -> ModuleRun:
        """Return what there is to say about the training once it has ended."""
        self._keep(time, state, len(self.levels) + 1)
        return ModuleRun(
            self.problem.alpha,
            predictions,
            time,
            n_steps,
            ended,
            error,
            tuple(self.times),
            tuple(self.snapshots),
        )

    def _keep(self, time: float, state: Tensor, times: int) -> None:
        self.times += [time] * times
        self.snapshots += [self.problem.module(state)] * times


def problem_of(model: nn.Module, x: Tensor, y: Tensor, alpha: float, loss: MarginLoss) -> ModuleProblem:
    """Return the checked problem of a module.

    Raises:
        InputError: as :func:`learnscope.dynamics.module_flow.flow`.
    """
    if not 0 < alpha < math.inf:
        raise InputError(f"alpha is {alpha:g}; give a positive number, small for features and large for lazy.")
    if y.ndim != 1 or len(x) != len(y) or len(y) == 0:
        raise InputError(f"x {list(x.shape)} and y {list(y.shape)}; give [p, ...] and [p] with at least one example.")
    if not bool(torch.isfinite(x).all()) or not bool(torch.isfinite(y).all()):
        raise InputError("x or y has entries that are NaN or infinite; drop those examples.")
    if loss.kind != "squared" and not bool((y.abs() == 1).all()):
        wrong = float(y[y.abs() != 1][0])
        raise InputError(f"a label is {wrong:g} but the {loss.kind} loss takes −1 and +1; map the classes to them.")
    refuse_coupled(model)
    saved = Saved(model)
    with torch.enable_grad(), saved.watched():
        shape = model(x[:1]).shape
    if shape.numel() != 1:
        raise InputError(f"the module has outputs of shape {list(shape[1:])} for an example; give it a single one.")
    trained = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise InputError("no parameter of the module requires gradients; there is nothing to train.")
    piece = max(1, CACHED // max(1, saved.bytes)) if x.device.type == "cpu" else len(x)
    return ModuleProblem(model, x, y, alpha, loss, tuple(trained), tuple(trained.values()), piece)
