"""Parameters as panels and examples as tiles, the layouts that the passes work on, and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from learnscope.dynamics.shallow.compiled.lanes import REGISTER_BYTES, ROWS
from learnscope.dynamics.shallow.problem import Problem
from learnscope.networks.one_hidden_layer import OneHiddenLayer


class Layout:
    """How the problem of one network lies in memory; all arrays are flat and padded with zeros.

    Attributes:
        lanes: neurons in a panel.
        n_panels: panels of the network.
        n_tiles: tiles of its examples.
        mask: as parameters; 1 for what moves, 0 for what is frozen or missing.
        directions: [h / lanes, d, lanes] ω/|ω| at the start.
    """

    def __init__(self, problem: Problem) -> None:
        network = problem.network
        self.problem, self.dim, self.width = problem, network.dim, network.width
        self.dtype = network.weights.numpy().dtype
        self.lanes = REGISTER_BYTES // self.dtype.itemsize
        self.n_panels, self.n_tiles = -(-network.width // self.lanes), -(-len(problem.x) // ROWS)
        rows = torch.ones(self.dim + 2, dtype=network.weights.dtype)
        for part, at in (("weights", slice(0, -2)), ("biases", -2), ("outputs", -1)):
            rows[at] = float(part not in problem.frozen)
        self.mask = self.panels(rows.expand(network.width, -1))
        norms = network.weights.norm(dim=1, keepdim=True).clamp(min=torch.finfo(network.weights.dtype).tiny)
        padded = torch.cat([network.weights / norms, torch.zeros(self.width, 2, dtype=rows.dtype)], dim=1)
        self.directions = self.panels(padded).view(self.n_panels, self.dim + 2, self.lanes)[:, :-2]

    def panels(self, parameters: Tensor) -> Tensor:
        """Return parameters [h, d + 2] as panels."""
        padded = parameters.new_zeros(self.n_panels * self.lanes, self.dim + 2)
        padded[: self.width] = parameters
        return padded.view(self.n_panels, self.lanes, self.dim + 2).mT.reshape(-1)

    def start(self) -> Tensor:
        """Return the parameters of the network before training, as panels."""
        network = self.problem.network
        columns = [network.weights, network.biases[:, None], network.outputs[:, None]]
        return self.panels(torch.cat(columns, dim=1).detach())

    def network(self, panels: Tensor) -> OneHiddenLayer:
        """Return the network of some panels, as tensors of its own."""
        rows = panels.view(self.n_panels, self.dim + 2, self.lanes).mT.reshape(-1, self.dim + 2)[: self.width]
        weights, biases, outputs = rows[:, :-2].clone(), rows[:, -2].clone(), rows[:, -1].clone()
        return replace(self.problem.network, weights=weights, biases=biases, outputs=outputs)

    def tiles(self, x: Tensor) -> np.ndarray:
        """Return examples [p, d], divided by √d, as tiles."""
        padded = x.new_zeros(-(-len(x) // ROWS) * ROWS, self.dim)
        padded[: len(x)] = x / self.dim**0.5
        return padded.view(-1, ROWS, self.dim).mT.reshape(-1).numpy()

    def padded(self, values: Tensor) -> np.ndarray:
        """Return numbers [p] with zeros for the missing examples."""
        longer = values.new_zeros(-(-len(values) // ROWS) * ROWS)
        longer[: len(values)] = values
        return longer.numpy()
