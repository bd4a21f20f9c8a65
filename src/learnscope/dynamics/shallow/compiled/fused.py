"""The compiled passes one at a time, as an engine for loops that are not compiled themselves."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from learnscope.dynamics.shallow.compiled.engine import Team, arrays_of, network_of, rules_of
from learnscope.dynamics.shallow.compiled.entries import ENTRIES
from learnscope.dynamics.shallow.compiled.state import OUTPUTS, VELOCITY
from learnscope.dynamics.shallow.problem import Problem
from learnscope.dynamics.shallow.run import Stop
from learnscope.networks.one_hidden_layer import OneHiddenLayer


class Fused:
    """Outputs and velocities of a problem as :class:`learnscope.dynamics.shallow.reference.Reference` gives them.

    Parameters are panels, as :mod:`learnscope.dynamics.shallow.compiled.passes` tells. It is a context, in which a
    large network has a few threads.
    """

    def __init__(self, problem: Problem, threads: int) -> None:
        self.problem = problem
        self.arrays, self.rules = arrays_of(problem), rules_of(problem, Stop(), threads)
        self._team = Team(self.arrays, self.rules)

    def __enter__(self) -> Self:
        self._team.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._team.__exit__(kind, value, trace)

    def start(self) -> Tensor:
        """Return the parameters of the network before training."""
        return torch.from_numpy(self.arrays.parameters.copy())

    def outputs(self, parameters: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return f at all points."""
        assert rows is None
        np.copyto(self.arrays.parameters, parameters.numpy())
        ENTRIES.together(OUTPUTS, self.arrays, self.rules)
        return torch.from_numpy(self.arrays.outputs[: self.rules.n].copy())

    def velocity(self, parameters: Tensor, pull: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return −h ∂L/∂θ, zero for what is frozen."""
        assert rows is None
        np.copyto(self.arrays.parameters, parameters.numpy())
        self.arrays.pulls[: self.rules.n] = pull.numpy()
        ENTRIES.together(VELOCITY, self.arrays, self.rules)
        return torch.from_numpy(self.arrays.velocity.copy())

    def network(self, parameters: Tensor) -> OneHiddenLayer:
        """Return the network with some parameters, as tensors of its own."""
        return network_of(parameters.numpy(), self.rules, self.problem.network)
