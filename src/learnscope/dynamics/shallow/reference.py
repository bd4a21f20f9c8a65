"""The engine in plain PyTorch, on any device: what the fused kernels are tested against.

Memory: a few matrices of p × h numbers.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from learnscope.dynamics.shallow.problem import Problem
from learnscope.networks.one_hidden_layer import OneHiddenLayer


class Reference:
    """The outputs of a network and the velocity of its parameters, a tensor [h, d + 2] of (ω, b, β) for each neuron.

    For pulls e_μ = dℓ/dF at the points x_μ the velocity is −h ∂L/∂θ of L = (1/p) Σ_μ ℓ(F(x_μ), y_μ) / α, that is

        dβₙ/dt = −(1/p) Σ_μ e_μ σ(z_μn)
        dbₙ/dt = −(1/p) Σ_μ e_μ βₙ σ'(z_μn)
        dωₙ/dt = −(1/p) Σ_μ e_μ βₙ σ'(z_μn) x_μ / √d
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.scaled = problem.x / math.sqrt(problem.network.dim)
        self.directions = problem.directions()

    def start(self) -> Tensor:
        """Return the parameters of the network before training."""
        network = self.problem.network
        return torch.cat([network.weights, network.biases[:, None], network.outputs[:, None]], dim=1)

    def outputs(self, parameters: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return f at the points, or at some rows of them."""
        hidden = self.problem.network.activation.value(self._preactivations(parameters, self._points(rows)))
        return hidden @ parameters[:, -1] / len(parameters)

    def velocity(self, parameters: Tensor, pull: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return −h ∂L/∂θ, zero for what is frozen."""
        points, activation = self._points(rows), self.problem.network.activation
        u = self._preactivations(parameters, points)
        share = -pull / len(pull)
        outputs = activation.value(u).mT @ share
        slopes = activation.slope(u) * share[:, None] * parameters[:, -1]
        return self._thaw(torch.cat([slopes.mT @ points, slopes.sum(0)[:, None], outputs[:, None]], dim=1))

    def network(self, parameters: Tensor) -> OneHiddenLayer:
        """Return the network with some parameters."""
        weights, biases, outputs = parameters[:, :-2].clone(), parameters[:, -2].clone(), parameters[:, -1].clone()
        return replace(self.problem.network, weights=weights, biases=biases, outputs=outputs)

    def _points(self, rows: Tensor | None) -> Tensor:
        return self.scaled if rows is None else self.scaled[rows]

    def _preactivations(self, parameters: Tensor, points: Tensor) -> Tensor:
        return points @ parameters[:, :-2].mT + parameters[:, -2]

    def _thaw(self, velocity: Tensor) -> Tensor:
        frozen = self.problem.frozen
        if "weights" in frozen:
            velocity[:, :-2] = 0
        elif "directions" in frozen:
            along = (velocity[:, :-2] * self.directions).sum(1, keepdim=True)
            velocity[:, :-2] = along * self.directions
        if "biases" in frozen:
            velocity[:, -2] = 0
        if "outputs" in frozen:
            velocity[:, -1] = 0
        return velocity
