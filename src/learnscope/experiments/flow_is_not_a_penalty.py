"""Training a deep linear network is not the flow on a penalised loss of a linear model, with one exception.

Factors W₁, ..., W_N that start balanced and follow their own gradients move their product A by dA/dt = −F(A) with
F = ψ_A(∇L(A)), ψ_A(G) = Σⱼ (A Aᵀ)^((N−j)/N) G (Aᵀ A)^((j−1)/N). Were this the flow on L + λ R for some function R of A,
F would be a gradient: its Jacobian J would be symmetric, and its work around every loop zero. Here
L = ½ tr((A − Y) C (A − Y)ᵀ), with C the covariance of the inputs. For one output, with columns w = Aᵀ and g = ∇L, the
asymmetry can be written down:

    J − Jᵀ = |w|^(−2/N) ((N − 1)(w wᵀ C − C w wᵀ) − ((N − 1)(N − 2)/N) (g wᵀ − w gᵀ)).

It vanishes for N = 2 on white inputs, C = 1, and there F is the gradient of (2/3)|w|³ − |w| w·y: a penalty exists.
Norms are no penalty either: completing ((*, 1), (1, 0)) from a product of positive determinant drives the free entry
to infinity like 1/√(2 L), although finite values fit (Razin, Cohen 2020). Time is that of the flow of the factors.

Sources: Arora, Cohen, Hazan 2018, Theorems 1 and 2; Razin, Cohen 2020, section 3.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from learnscope import laboratory
from learnscope.distributions.designs import gaussian_design
from learnscope.dynamics.end_to_end import asymmetry_of_one_output, factor_flow, preconditioned_gradient
from learnscope.dynamics.vector_fields import jacobian, work_along_circles
from learnscope.laboratory import Claim, Criterion, Experiment, Point, at_least, at_most, median_over_seeds, within
from learnscope.networks.deep_linear import balanced_factors, product
from learnscope.report.chart import Axis, Caption, Cells, Chart, Choice, ColourScale, Figure, Lines, Series, category

OUTPUTS, INPUTS, SIGNS = ("several", "one"), ("white", "correlated"), ("positive", "negative")
RADIUS = 0.5  # of the circles, where the entries of A have variance 1
TIMES = (0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0)  # of the completion


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    outputs: int = Field(3, ge=2, description="rows of A, beside the case of one output")
    inputs: int = Field(4, ge=2, description="columns of A")
    depths: tuple[int, ...] = Field((1, 2, 3, 5), description="numbers of factors; 1, 2 and 3 among them")
    n_matrices: int = Field(20, ge=1, description="random pairs (A, Y) at which the Jacobian is taken")
    n_loops: int = Field(40, ge=1, description="random circles around which the work is summed")
    n_angles: int = Field(64, ge=8, description="points of a circle")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Measure asymmetry and work by outputs, covariance of the inputs, and depth; then complete a 2 × 2 matrix."""
    design = gaussian_design(3 * point.inputs, point.inputs, generator)
    covariances = (torch.eye(point.inputs, dtype=torch.float64), design.mT @ design / len(design))
    asymmetry, path = [], []
    for outputs in (point.outputs, 1):
        matrices, targets = _randn(2, point.n_matrices, outputs, point.inputs, generator=generator)
        centres, goals = _randn(2, point.n_loops, outputs, point.inputs, generator=generator)
        planes = torch.linalg.qr(_randn(point.n_loops, outputs * point.inputs, 2, generator=generator)).Q
        axes = planes.movedim(-1, 0).unflatten(-1, (outputs, point.inputs))
        for C in covariances:
            for N in point.depths:
                J = jacobian(field(targets, C, N), matrices)
                asymmetry.append(torch.linalg.matrix_norm(J - J.mT) / torch.linalg.matrix_norm(J))
                path.append(work_along_circles(field(goals, C, N), centres, axes, RADIUS, point.n_angles))
    shape = (len(OUTPUTS), len(INPUTS), len(point.depths))
    paths = torch.stack(path).unflatten(0, shape)
    dims = ["outputs", "inputs", "depth"]
    measured = xr.Dataset(
        {
            "asymmetry": (dims, torch.stack(asymmetry).mean(-1).reshape(shape).numpy()),
            "work": (dims, paths[..., -1].abs().mean(-1).numpy()),
            "path": ([*dims, "angle"], paths[..., 0, :].numpy()),
        },
        coords={"outputs": list(OUTPUTS), "inputs": list(INPUTS), "depth": list(point.depths)},
    )
    return measured.assign_coords(angle=np.linspace(0, 360, point.n_angles + 1)).merge(_completion(generator))


def field(targets: Tensor, covariance: Tensor, depth: int) -> Callable[[Tensor], Tensor]:
    """Return F: A ↦ ψ_A((A − Y) C), the velocity of the product with its sign changed."""
    return lambda matrix: preconditioned_gradient(matrix, (matrix - targets) @ covariance, depth)


def _completion(generator: torch.Generator) -> xr.Dataset:
    """Complete ((*, 1), (1, 0)) with two balanced factors from small products of either sign of the determinant."""
    seen = torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    goal = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    start = 0.1 * torch.eye(2, dtype=torch.float64) + 0.03 * _randn(2, 2, 2, generator=generator)
    signs = torch.linalg.det(start).sign() * torch.tensor([1.0, -1.0], dtype=torch.float64)
    start[:, 1] *= signs[:, None]
    factors, _ = factor_flow(
        lambda A: seen * (A - goal),
        balanced_factors(start, 2),
        TIMES,
        relative_tolerance=1e-8,
        absolute_tolerance=1e-12,
    )
    matrix = product(factors)
    loss = (seen * (matrix - goal)).square().sum((-2, -1)) / 2
    return xr.Dataset(
        {"loss": (["time", "determinant"], loss), "free_entry": (["time", "determinant"], matrix[..., 0, 0].abs())},
        coords={"time": list(TIMES), "determinant": list(SIGNS)},
    )


def _randn(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def least(
    quantity: str, outputs: str, depths: Callable[[int], bool], inputs: str = "white"
) -> Callable[[xr.Dataset], xr.DataArray]:
    """Return the measure of the least value of a quantity over the chosen depths."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        chosen = [int(N) for N in data["depth"].values if depths(int(N))]
        return data[quantity].sel(outputs=outputs, inputs=inputs, depth=chosen).min("depth")

    return measure


def growth(determinant: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """Return the measure |A₀₀| √(2 L) at the last time."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        end = data.sel(determinant=determinant).isel(time=-1)
        return end["free_entry"] * (2 * end["loss"]) ** 0.5

    return measure


GENERIC = "at random matrices nothing is small: an asymmetry of a tenth of the Jacobian or more, and half of that"
EXACT = "differences of fourth order are exact to about 1e-11; a thousand times that"
CLAIM = Claim(
    name="dln-not-regulariser",
    statement="The velocity −ψ_A(∇L(A)) of a deep linear network is the gradient of no function of A, so no penalty on "
    "a linear model gives its path: for several outputs from depth 2 on, for one output from depth 3 on.",
    source="Arora, Cohen, Hazan 2018, Theorem 2; Razin, Cohen 2020, section 3; Barak 2021",
    correction="Barak's lecture says it of every deep linear network. For one output, depth 2 and white inputs the "
    "field is the gradient of (2/3)|w|³ − |w| w·y, so there a penalty exists; Arora, Cohen, Hazan state one output for "
    "N > 2 only. With correlated inputs depth 2 has no penalty either, by the first term of the asymmetry.",
    criteria=(
        Criterion(
            name="several outputs: least asymmetry ‖J − Jᵀ‖ / ‖J‖ over depths from 2",
            predicted=0.1,
            measured=least("asymmetry", "several", lambda N: N > 1),
            band=at_least(0.05),
            reason=GENERIC,
            control=least("asymmetry", "several", lambda N: N == 1),
            control_name="depth 1, the linear model itself",
        ),
        Criterion(
            name="one output: least asymmetry over depths from 3",
            predicted=0.1,
            measured=least("asymmetry", "one", lambda N: N > 2),
            band=at_least(0.05),
            reason=GENERIC,
            control=least("asymmetry", "one", lambda N: N == 2),
            control_name="depth 2, the exception",
        ),
        Criterion(
            name="one output, depth 2, white inputs: asymmetry",
            predicted=0.0,
            measured=least("asymmetry", "one", lambda N: N == 2),
            band=at_most(1e-8),
            reason=EXACT,
            control=least("asymmetry", "one", lambda N: N == 2, "correlated"),
            control_name="correlated inputs",
        ),
        Criterion(
            name="several outputs: least work around a loop, over ∮ |F||dA|, over depths from 2",
            predicted=0.01,
            measured=least("work", "several", lambda N: N > 1),
            band=at_least(1e-3),
            reason="for circles of radius ½ about asymmetry × radius / entries of A, which is 0.01; a tenth of that",
            control=least("work", "several", lambda N: N == 1),
            control_name="depth 1, the linear model itself",
        ),
        Criterion(
            name="completion: free entry × √(2 L) at the end",
            predicted=1.0,
            measured=growth("positive"),
            band=within(0.1),
            reason="with determinant ≥ 0 and free entry a, L ≥ (1 − O(1/a²)) / (2 a²), and a is about 5 at the end",
            control=growth("negative"),
            control_name="a product of negative determinant, where a finite entry fits",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the work along a loop, the curl for two inputs, and the completion that runs away."""
    return _loop_figure(data.isel(seed=0)), _map_figure(data), _completion_figure(data)


def _loop_figure(data: xr.Dataset) -> Figure:
    turns = np.arange(5 * (len(data["angle"]) - 1)) / (len(data["angle"]) - 1)
    choices = []
    for outputs in OUTPUTS:
        for inputs in INPUTS:
            lines = []
            for k, N in enumerate(data["depth"].values):
                once = data["path"].sel(outputs=outputs, inputs=inputs, depth=N).values
                lines.append(Series(f"depth {N}", (once[:-1] + once[-1] * np.arange(5)[:, None]).ravel(), category(k)))
            axis = Axis("work", "work so far, over ∮ |F||dA|")
            choices.append(Choice(f"outputs: {outputs}; inputs: {inputs}", axis, (Lines(tuple(lines)),)))
    return Figure(
        "work",
        "The work around a loop",
        Caption(
            shows="Work ∫ F·dA of the field F = ψ_A(∇L(A)) on five turns around a random circle in the space of A, "
            "that of the first seed.",
            look_for="A gradient gives back what it took with each turn. Depth 1 does, and depth 2 for one output and "
            "white inputs, and nothing else: no penalty makes a linear model follow the other fields.",
            source="Arora, Cohen, Hazan 2018, Theorem 2",
        ),
        charts=(Chart(Axis("turns", "turns", "linear", turns), tuple(choices), starts=(0, 2), height=420),),
    )


def _map_figure(data: xr.Dataset) -> Figure:
    edge = np.linspace(-1.5, 1.5, 60)
    x, y = np.meshgrid(edge, edge)
    plane, goal = torch.from_numpy(np.stack([x, y], -1)[..., None, :]), torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    circle = abs(np.hypot(x - 0.1, y + 0.7) - RADIUS) < 0.5 * (edge[1] - edge[0])
    rows = Axis("second weight", "", "names", np.array([f"{weight:.2f}" for weight in edge]))
    choices = []
    for inputs, correlation in zip(INPUTS, (0.0, 0.5), strict=True):
        C = torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
        for N in (int(N) for N in data["depth"] if N > 1):
            curl = asymmetry_of_one_output(plane, goal, C, N)[..., 1, 0].numpy()
            cells = Cells(np.where(circle, np.nan, curl))
            scale = ColourScale("curl of F", -1.5, 1.5)
            choices.append(Choice(f"depth {N}; inputs: {inputs}", rows, (cells,), colours=scale))
    return Figure(
        "curl",
        "The curl of the field, for two inputs and one output",
        Caption(
            shows="∂F₂/∂w₁ − ∂F₁/∂w₂ over the plane of the two weights for the target (1, ½), by the formula; "
            "correlated inputs have the correlation ½. The empty cells form a circle.",
            look_for="The work around the circle is the sum of the curl within. For white inputs the curl is zero at "
            "depth 2; at depth 3 and more it is zero only on the line through the origin and the target.",
            source="the formula for J − Jᵀ at the top of the experiment's file",
        ),
        charts=(
            Chart(Axis("first weight", "first weight", "linear", edge), tuple(choices), starts=(0, 1), height=480),
        ),
    )


def _completion_figure(data: xr.Dataset) -> Figure:
    loss = data["loss"].clip(1e-6)
    choices = []
    for name, title, values in (
        ("free entry", "size of the free entry", data["free_entry"]),
        ("loss", "loss L on the other three", loss),
    ):
        lines = [
            median_over_seeds(values.sel(determinant=sign), f"{sign} determinant", category(k))
            for k, sign in enumerate(SIGNS)
        ]
        if name == "free entry":
            lines.append(
                median_over_seeds(
                    (2 * loss.sel(determinant="positive")) ** -0.5,
                    "1/√(2 L), positive determinant",
                    category(2),
                    "dashed",
                )
            )
        choices.append(Choice(name, Axis(name, title, "log"), (Lines(tuple(lines)),)))
    return Figure(
        "completion",
        "A free entry that grows while the loss vanishes",
        Caption(
            shows="Two balanced factors complete ((*, 1), (1, 0)): the size of the free entry, and the loss, drawn "
            "down to 1e-6, from either sign of the determinant. Median over seeds, bands from least to largest.",
            look_for="The flow cannot change the sign of the determinant. With the wrong one the entry follows "
            "1/√(2 L) towards infinity, so no norm of A is what the network keeps small.",
            source="Razin, Cohen 2020, section 3",
        ),
        charts=(Chart(Axis("time", "time of the flow", "log", data["time"].values), tuple(choices), starts=(0, 1)),),
    )


EXPERIMENT = Experiment(
    name="flow-is-not-a-penalty",
    title="The flow of deep linear networks is that of no penalty",
    source="Arora, Cohen, Hazan 2018; Razin, Cohen 2020",
    settings=Settings,
    paper={
        "outputs": 5,
        "inputs": 8,
        "depths": (1, 2, 3, 4, 5, 8),
        "n_matrices": 200,
        "n_loops": 1000,
        "n_angles": 128,
    },
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
)
