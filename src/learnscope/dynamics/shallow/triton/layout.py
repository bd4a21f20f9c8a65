"""Networks side by side in padded tensors, and the two functions that the kernels compute of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from learnscope.dynamics.shallow.problem import Problem
from learnscope.dynamics.shallow.triton import kernels
from learnscope.errors import InputError
from learnscope.networks.one_hidden_layer import OneHiddenLayer

TILE = {torch.float32: 64, torch.float64: 32}  # examples and neurons in a tile: as many bytes of registers for both
PROGRAMS = 1024  # sums are split until there are as many: some for each multiprocessor of a large card
LEAST_ROWS = 16  # of a factor in a product of tiles
# with fewer threads for a tile the registers of a Hopper card do not suffice; nothing is copied ahead of its use
LAUNCH = {"num_warps": 8, "num_stages": 1}


def row_tile(dim: int) -> int:
    """Return the power of two that d rows of ω and one of b are padded to."""
    return max(LEAST_ROWS, 1 << dim.bit_length())


class Layout:
    """The problems of an ensemble, all on one device and of one dtype, dim, activation and loss.

    Attributes:
        labels: [networks, P], zero where a network has fewer examples.
        alpha: [networks] α, in double precision.
        sizes: [networks] p.
        valid: [networks, P] which examples there are.
        with_margin: [networks, P] which of them have a label of −1 or +1, as all of their network.

    Raises:
        InputError: if devices, dtypes or dims differ.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems, one = list(problems), problems[0]
        weights = one.network.weights
        if len({(p.network.weights.dtype, p.network.weights.device, p.network.dim) for p in problems}) > 1:
            raise InputError(
                "the networks differ in dim, dtype or device and Triton's kernels train one kind at a time; train "
                "those of each by a call of its own."
            )
        self.dtype, self.device, self.dim, self.tile = (
            weights.dtype,
            weights.device,
            one.network.dim,
            TILE[weights.dtype],
        )
        sizes, widths = [len(p.x) for p in problems], [p.network.width for p in problems]
        self.sizes, self.widths = self._integers(sizes), self._integers(widths)
        tiles = [-(-max(counts) // self.tile) for counts in (sizes, widths)]
        self.n_points, self.n_neurons = (count * self.tile for count in tiles)
        splits = [max(1, min(inner, PROGRAMS // (len(problems) * outer))) for outer, inner in (tiles, tiles[::-1])]
        self.grids = [(outer, len(problems), split) for outer, split in zip(tiles, splits, strict=True)]
        self._place_points()
        self._place_factors()
        # parts that no program writes stay zero
        self.output_parts = self._zeros(splits[0], self.n_points)
        self.gradient_parts = self._zeros(splits[1], self.dim + 2, self.n_neurons)

    def _place_points(self) -> None:
        self.examples, self.labels = self._zeros(self.dim + 1, self.n_points), self._zeros(self.n_points)
        for k, problem in enumerate(self.problems):
            n = len(problem.x)
            self.examples[k, :-1, :n] = problem.x.mT / math.sqrt(self.dim)
            self.examples[k, -1, :n] = 1
            self.labels[k, :n] = problem.y
        self.valid = torch.arange(self.n_points, device=self.device) < self.sizes[:, None]
        has_margins = torch.tensor([p.has_margins for p in self.problems], device=self.device)
        self.with_margin = self.valid & has_margins[:, None]
        self.alpha = torch.tensor([p.alpha for p in self.problems], dtype=torch.float64, device=self.device)

    def _place_factors(self) -> None:
        """Keep what turns sums into outputs, [networks, 1], and into velocities, [networks, d + 2, 1]."""
        frozen, sigma = self.problems[0].frozen, self.problems[0].network.activation
        self.sharpness = sigma.sharpness if sigma.kind == "softplus" else 1.0
        self.output_factor = (sigma.scale / self.sharpness / self.widths[:, None].double()).to(self.dtype)
        rows = torch.full((self.dim + 2,), -sigma.scale, dtype=torch.float64, device=self.device)
        rows[-1] /= self.sharpness
        for part, at in (("weights", slice(0, -2)), ("biases", -2), ("outputs", -1)):
            rows[at] *= part not in frozen
        self.velocity_factor = (rows[:, None] / self.sizes[:, None, None]).to(self.dtype)
        self.directions = None
        if "directions" in frozen:
            self.directions = self._zeros(self.dim, self.n_neurons)
            for k, problem in enumerate(self.problems):
                self.directions[k, :, : problem.network.width] = problem.directions().detach().mT

    def start(self) -> Tensor:
        """Return the parameters of the networks before training."""
        parameters = self._zeros(self.dim + 2, self.n_neurons)
        for k, network in enumerate(problem.network for problem in self.problems):
            parameters[k, :-2, : network.width] = network.weights.mT
            parameters[k, -2, : network.width] = network.biases
            parameters[k, -1, : network.width] = network.outputs
        return parameters.detach()

    def network(self, parameters: Tensor, k: int) -> OneHiddenLayer:
        """Return one of the networks with some parameters, as tensors of its own."""
        start = self.problems[k].network
        weights, biases, outputs = parameters[k, :, : start.width].split([self.dim, 1, 1])
        weights = weights.mT.clone(memory_format=torch.contiguous_format)
        return replace(start, weights=weights, biases=biases[0].clone(), outputs=outputs[0].clone())

    def outputs(self, parameters: Tensor, active: Tensor) -> Tensor:
        """Return f at the points, [networks, P], for the networks that are active; the others keep those of before."""
        sigma, parts = self.problems[0].network.activation, self.output_parts
        with torch.cuda.device_of(parameters):
            kernels.sum_outputs[self.grids[0]](
                parameters, self.examples, self.widths, self.sizes, active, parts, self.n_neurons, self.n_points,
                self.grids[0][2], self.dim + 1, sigma.kind, self.sharpness, self.tile, **LAUNCH,
            )  # fmt: skip
        return parts.sum(1) * self.output_factor

    def velocity(self, parameters: Tensor, predictions: Tensor, active: Tensor) -> Tensor:
        """Return −h ∂L/∂θ at some predictions, zero for what is frozen; networks that are not active keep theirs."""
        one, parts = self.problems[0], self.gradient_parts
        sigma, loss, rows = one.network.activation, one.loss, self.dim + 1
        with torch.cuda.device_of(parameters):
            kernels.sum_gradients[self.grids[1]](
                parameters, self.examples, predictions, self.labels, self.widths, self.sizes, active, parts,
                self.n_neurons, self.n_points, self.grids[1][2], rows, sigma.kind, self.sharpness, loss.kind,
                loss.sharpness, self.tile, row_tile(self.dim), **LAUNCH,
            )  # fmt: skip
        velocity = parts.sum(1) * self.velocity_factor
        if self.directions is not None:
            omega = velocity[:, :-2]
            omega.copy_((omega * self.directions).sum(1, keepdim=True) * self.directions)
        return velocity

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(len(self.problems), *shape, dtype=self.dtype, device=self.device)

    def _integers(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int32, device=self.device)
