"""Stacks of independent deep linear networks that descend together: their loss, their state, and what is seen of it."""

from __future__ import annotations

import copy
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from learnscope.dynamics.chain_rule import ChainRule
from learnscope.errors import InputError

Observer = Callable[[list[Tensor]], Tensor]
"""Maps the factors of all members to a tensor [members, ...]."""

FAST_MEMORY = 3 * 2**20  # bytes: what a core keeps close, by trial on matrices of 100 × 100
COPIES = 3  # of the factors that a step touches: factors, gradients, products


class Rule(Protocol):
    """How long a step is, given its gradients; it may remember earlier ones."""

    def gain(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return by how much [members] the learning rate is multiplied."""
        ...

    def keep(self, places: Tensor) -> None:
        """Forget all members but those at these places."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SquaredError:
    """The loss Σ_ij w_ij (A_ij - T_ij)² of a matrix A, for each member of a stack.

    With w = 1/2 everywhere it is ½‖A - T‖²; with w = 1/n on n observed entries it is their mean squared error.

    Attributes:
        target: [members, rows, columns] or [rows, columns] the matrix T.
        weight: [members, rows, columns] or [rows, columns] the weights w ≥ 0.

    Examples:
        >>> loss = SquaredError(torch.eye(2), torch.full((2, 2), 0.5))
        >>> loss.value(torch.zeros(1, 2, 2)).tolist(), loss.gradient(torch.zeros(1, 2, 2)).tolist()
        ([1.0], [[[-1.0, 0.0], [0.0, -1.0]]])
    """

    target: Tensor
    weight: Tensor

    def value(self, matrix: Tensor) -> Tensor:
        """Return the loss [members] of matrices [members, rows, columns]."""
        return self.value_and_gradient(matrix)[0]

    def gradient(self, matrix: Tensor) -> Tensor:
        """Return ∂L/∂A = 2 w (A - T), of the shape of A."""
        return self.value_and_gradient(matrix)[1]

    def value_and_gradient(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Return both, for little more than the price of one."""
        return self.of_difference(matrix - self.target)

    def of_difference(self, difference: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and ∂L/∂A from A - T."""
        gradient = (difference * self.weight).mul_(2)
        return torch.linalg.vecdot(gradient.flatten(-2), difference.flatten(-2)) / 2, gradient

    def of(self, members: Tensor | slice) -> SquaredError:
        """Return the loss of some members, given by their places in the stack."""
        target, weight = (part if part.ndim < 3 else part[members] for part in (self.target, self.weight))
        return SquaredError(target, weight)


@dataclass(frozen=True, slots=True, eq=False)
class Descent:
    """What came of a descent.

    Attributes:
        factors: (W₁, ..., W_N) at the end, [members, d_l, d_{l-1}].
        n_steps: [members] steps that were taken.
        converged: [members] whether the loss reached the tolerance; False where none was asked for.
        steps: [T] the steps that were observed; 0 is the initial state.
        observed: by observer, [T, members, ...]; a member that has left keeps its last state.
    """

    factors: list[Tensor]
    n_steps: Tensor
    converged: Tensor
    steps: Tensor
    observed: dict[str, Tensor]


class Block:
    """Members that step together, of which those that are finished leave.

    Attributes:
        members: places, in the block, of the members that are still at work.
        factors: their factors.
        loss: their loss.
        taken: steps that were taken.
        n_steps: [members] the same, for each member until it left.
        converged: [members] whether it left because its loss reached the tolerance.
    """

    def __init__(
        self, whole: list[Tensor], loss: SquaredError, learning_rate: Tensor, penalty: Tensor, rule: Rule | None
    ) -> None:
        self.whole, self.factors, self.loss, self.rule = whole, whole, loss, rule
        self.learning_rate, self.twice_penalty = learning_rate, 2 * penalty
        self.is_penalised = bool((penalty != 0).any())
        self.members = torch.arange(len(whole[0]), device=whole[0].device)
        self.n_steps = torch.zeros_like(self.members)
        self.converged = torch.zeros_like(self.members, dtype=torch.bool)
        self.taken = 0
        self._chain: ChainRule | None = None

    @property
    def chain(self) -> ChainRule:
        """The products of the factors of those at work, and their gradients."""
        if self._chain is None or self._chain.factors is not self.factors:
            self._chain = ChainRule(self.factors)
        return self._chain

    def move(self, gradients: Sequence[Tensor]) -> None:
        """Take a step W ← W - η · gain(g) · g with g = ∂L/∂W + 2 λ W, in place; the gradients are used up."""
        if self.is_penalised:
            for gradient, factor in zip(gradients, self.factors, strict=True):
                gradient.addcmul_(factor, self.twice_penalty)
        rate = self.learning_rate
        if self.rule is not None:
            rate = rate * self.rule.gain(gradients)[:, None, None]
        for gradient, factor in zip(gradients, self.factors, strict=True):
            factor.addcmul_(gradient, rate, value=-1)
        self.taken += 1

    def release(self, loss: Tensor, tolerance: float) -> Tensor | None:
        """Let go of members whose loss is small enough or not finite.

        Args:
            loss: [members at work] their losses.
            tolerance: of the loss.

        Returns:
            The places, among those at work until now, of the members that stay; None if all do.
        """
        if not len(loss) or tolerance < float(loss.amin()) <= float(loss.amax()) < torch.inf:
            return None
        stays = (loss > tolerance) & (loss < torch.inf)
        self.settle()
        self.converged[self.members] = loss <= tolerance
        places = stays.nonzero().squeeze(-1)
        self.members, self.loss = self.members[places], self.loss.of(places)
        self.learning_rate, self.twice_penalty = self.learning_rate[places], self.twice_penalty[places]
        self.factors = [factor[places] for factor in self.factors]
        if self.rule is not None:
            self.rule.keep(places)
        return places

    def settle(self) -> None:
        """Write the state of those at work beside that of the others."""
        self.n_steps[self.members] = self.taken
        if self.factors is not self.whole:
            for whole, factor in zip(self.whole, self.factors, strict=True):
                whole[self.members] = factor


class Stack:
    """All members, in blocks whose factors, gradients and products fit into the fast memory of a core.

    Blocks are spread over as many threads as torch has.

    Args:
        factors: initial (W₁, ..., W_N), [members, d_l, d_{l-1}]; copied.
        loss: of the product.
        learning_rate: η, one number or [members].
        penalty: λ, one number or [members].
        rule: how long a step is, a fresh one; every block has a copy.
        at_once: whether all members must step together, in one block, as on devices other than a CPU.

    Raises:
        InputError: the factors have no stack dimension, or an argument has not one number for each member.
    """

    def __init__(
        self,
        factors: Sequence[Tensor],
        loss: SquaredError,
        learning_rate: float | Tensor,
        penalty: float | Tensor,
        rule: Rule | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        if any(factor.ndim != 3 for factor in factors):
            shapes = [tuple(factor.shape) for factor in factors]
            raise InputError(f"factors have shapes {shapes}; give [members, d_l, d_(l-1)], with 1 for one network.")
        self.whole = [factor.detach().clone(memory_format=torch.contiguous_format) for factor in factors]
        count = len(self.whole[0])
        rates, penalties = self._for_each("learning_rate", learning_rate), self._for_each("penalty", penalty)
        one = COPIES * sum(factor[:1].nbytes for factor in self.whole)
        together = at_once or self.whole[0].device.type != "cpu"
        self.threads = 1 if together else torch.get_num_threads()
        most = max(count, 1) if together else max(1, FAST_MEMORY // max(one, 1))
        # a few blocks are as many for every thread, and all are of about a size
        blocks = max(1, math.ceil(count / most))
        if blocks > 1:
            blocks = min(self.threads * math.ceil(blocks / self.threads), count)
        self.blocks = [
            Block([factor[part] for factor in self.whole], loss.of(part), rates[part], penalties[part], copy.copy(rule))
            for part in itertools.starmap(slice, itertools.pairwise(count * k // blocks for k in range(blocks + 1)))
        ]

    def _for_each(self, name: str, value: float | Tensor) -> Tensor:
        like = self.whole[0]
        given = torch.as_tensor(value, dtype=like.dtype, device=like.device)
        if given.shape not in ((), (len(like),)):
            raise InputError(f"{name} has shape {tuple(given.shape)}; give one number, or {len(like)} for the members.")
        return given.expand(len(like))[:, None, None].clone()

    def watch(
        self, step: Callable[[Block], None], n_steps: int, observers: Mapping[str, Observer], observed: Sequence[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Step every block until nobody is left in it or ``n_steps`` are taken.

        Args:
            step: takes one step of a block.
            n_steps: most steps.
            observers: by name.
            observed: the steps at which they are called.

        Returns:
            The steps that were observed, [T], and what was seen there, by observer.
        """
        wanted = sorted({stop for stop in observed if 0 <= stop <= n_steps})
        seen: dict[str, list[Tensor]] = {name: [] for name in observers}
        for stop in wanted:
            self._advance(step, stop)
            for name, observer in observers.items():
                seen[name].append(observer(self.whole).clone())
        self._advance(step, n_steps)
        return torch.tensor(wanted), {name: torch.stack(values) for name, values in seen.items() if values}

    def _advance(self, step: Callable[[Block], None], stop: int) -> None:
        if self.threads == 1 or len(self.blocks) == 1:
            for block in self.blocks:
                _run(block, step, stop, threading.Event())
            return
        given_up = threading.Event()
        # Products of small matrices gain little from several threads each, blocks a lot from one each.
        with _one_thread_for_each_product(), ThreadPoolExecutor(self.threads) as pool:
            runs = [pool.submit(_run, block, step, stop, given_up) for block in self.blocks]
            try:
                for run in as_completed(runs):
                    run.result()
            finally:
                given_up.set()

    def outcome(self, steps: Tensor, observed: dict[str, Tensor]) -> Descent:
        """Return where all members are, how they came there, and what was seen on the way."""
        n_steps, converged = (torch.cat([getattr(b, name) for b in self.blocks]) for name in ("n_steps", "converged"))
        return Descent(self.whole, n_steps, converged, steps, observed)


def _run(block: Block, step: Callable[[Block], None], stop: int, given_up: threading.Event) -> None:
    """Step a block until nobody is left in it, ``stop`` steps are taken, or all is given up."""
    while len(block.members) and block.taken < stop and not given_up.is_set():
        step(block)
    block.settle()


@contextmanager
def _one_thread_for_each_product() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
