"""With L2 and three layers, noise carries a network from minima of high rank to minima of low rank, and never back.

A = W_L ... W₁ learns T = diag(1, 1/2) from one random entry a step, (A_ij - T_ij)² + λ Σ_l ‖W_l‖², which on average is
¼ ‖A - T‖² + λ Σ_l ‖W_l‖². Time is counted in steps. For L ≥ 3 there is a minimum for each set of modes t of T, as long
as 4 λ is below max_s (t - s) s^(1 - 2/L), which for t = 1/2 and L = 3 is λ < 0.047; for L = 2 there is only the one of
rank two. Noise ends the smaller mode after a time that grows fast with 1 / η, and with the distance of λ from its
bound; where the weights of a mode are 0 they feel L2 alone, and nothing brings them back.

A singular value may dip while its weights are not small; a mode counts as lost once it was low for some hundred steps.

Source: Z. Wang, A. Jacot (2024), Implicit bias of SGD in L2-regularized linear DNNs: one-way jumps from high to low
rank.
"""

from __future__ import annotations

import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from learnscope import laboratory
from learnscope.dynamics.gradient_descent import SquaredError, descend, descend_on_entries
from learnscope.dynamics.penalised_landscape import point_of_rank
from learnscope.dynamics.representation_cost import penalised_singular_values
from learnscope.laboratory import Claim, Criterion, Experiment, Point, at_least, at_most
from learnscope.laboratory.claims import Measure
from learnscope.networks.deep_linear import gaussian_factors, product
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category

VALUES = torch.tensor([1.0, 0.5], dtype=torch.float64)  # singular values t of the target
QUARTER = SquaredError(VALUES.diag(), torch.full((2, 2), 0.25, dtype=torch.float64))
LAYERS = (2, 3)
CASES = ("rank 2", "rank 1", "rank 2, no L2")  # where runs start
NEAR = 0.05  # standard deviation of what is added to the weights of a minimum, in units of 1 / √inputs
LOW = 0.02  # of a singular value; the basins of 0 and of the minimum with rank 2 meet at 0.04
DRAWN = 6  # runs in a figure
EVERY, SETTLED = 50, 10  # steps between looks, and looks for which a singular value has to stay low


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    width: int = Field(4, ge=2, description="hidden units")
    penalty: float = Field(0.04, gt=0, lt=0.046, description="λ of the runs with noise")
    learning_rates: tuple[float, ...] = Field((0.05, 0.1, 0.2), min_length=2, description="increasing")
    replicas: int = Field(8, ge=1, description="runs from each start at each learning rate")
    n_steps: int = Field(6000, ge=EVERY * SETTLED * 2, description="of every run with noise")
    descent_steps: int = Field(2000, ge=1, description="of every run without noise")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Follow runs with and without noise for two and three layers."""
    return xr.concat([_runs(layers, point, generator) for layers in LAYERS], "layers").assign_coords(
        layers=list(LAYERS)
    )


def _runs(layers: int, point: Point, generator: torch.Generator) -> xr.Dataset:
    """Run from both ranks with L2 and from rank two without, at every learning rate, all in one stack."""
    shape = (len(CASES), len(point.learning_rates), point.replicas)
    start = _near(layers, ((2, point.penalty), (1, point.penalty), (2, 0.0)), point.width, shape[1:], generator)
    rates = torch.tensor(point.learning_rates, dtype=VALUES.dtype)[:, None].expand(shape).flatten()
    penalties = torch.tensor([point.penalty, point.penalty, 0.0], dtype=VALUES.dtype)[:, None, None].expand(shape)
    noisy = descend_on_entries(
        start,
        QUARTER,
        rates,
        generator,
        n_steps=point.n_steps,
        penalty=penalties.flatten(),
        observers={"second": _second},
        observed_steps=range(0, point.n_steps + 1, EVERY),
    )
    quiet = descend(start, QUARTER, rates, n_steps=point.descent_steps, penalty=penalties.flatten())
    second = noisy.observed["second"].T.unflatten(0, shape)
    high = penalised_singular_values(VALUES, layers, 2 * point.penalty)[1] / 2
    low = second.unfold(-1, SETTLED, 1).amax(-1) < LOW
    lost = low.cummax(-1).values
    lost_before = lost | torch.tensor([False, True, False])[:, None, None, None]
    returns = (lost_before & (second[..., SETTLED - 1 :] > high)).any(-1)
    rank = 1 + (_second(quiet.factors) > high).double().unflatten(0, shape)
    dims = ["case", "learning_rate"]
    return xr.Dataset(
        {
            "lost": (dims, lost[..., -1].double().mean(-1).numpy()),
            "returned": (dims, returns.double().mean(-1).numpy()),
            "steps_low": (dims, (EVERY * low.double().sum((-2, -1))).numpy()),
            "share_lost": ([*dims, "step"], lost.double().mean(-2).numpy()),
            "second": ([*dims, "time"], second[:, :, 0].numpy(), {"long_name": "second singular value of one run"}),
            "quiet_rank": (dims, rank.mean(-1).numpy()),
        },
        coords={
            "case": list(CASES),
            "learning_rate": list(point.learning_rates),
            "step": noisy.steps[SETTLED - 1 :].numpy(),
            "time": noisy.steps.numpy(),
        },
    )


def _near(
    layers: int,
    ends: tuple[tuple[int, float], ...],
    width: int,
    batch: tuple[int, ...],
    generator: torch.Generator,
) -> list[Tensor]:
    """Return weights near critical points of ¼ ‖A - T‖² + λ Σ_l ‖W_l‖², given by rank and λ, one stack of all."""
    weights = gaussian_factors((2, *(width,) * (layers - 1), 2), NEAR, generator, (len(ends), *batch))
    for k, (rank, penalty) in enumerate(ends):
        for weight, at in zip(weights, point_of_rank(VALUES, layers, 2 * penalty, rank), strict=True):
            weight[k, ..., :2, :2] += at
    return [weight.flatten(0, -3) for weight in weights]


def _second(factors: list[Tensor]) -> Tensor:
    return torch.linalg.svdvals(product(factors))[:, 1]


def noisy(name: str, case: str, layers: int, rate: int = -1) -> Measure:
    """Return the measure of a variable of the runs with noise, at a place among the learning rates."""
    return lambda data: data[name].sel(case=case, layers=layers).isel(learning_rate=rate)


def returned(layers: int) -> Measure:
    """Return the measure of the largest share of runs that came back to rank two, over starts and learning rates."""
    return lambda data: data["returned"].sel(case=list(CASES[:2]), layers=layers).max(["case", "learning_rate"])


def quiet_changes(layers: int) -> Measure:
    """Return the measure of the largest change of rank without noise, over starts with L2 and learning rates."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        ranks = data["quiet_rank"].sel(layers=layers, case=list(CASES[:2]))
        return abs(ranks - xr.DataArray([2, 1], coords={"case": list(CASES[:2])})).max(["case", "learning_rate"])

    return measure


JUMPS = Claim(
    name="sgd-one-way-jumps",
    statement="With L2 and three layers or more, stochastic gradient descent jumps from minima of high rank to minima "
    "of low rank and never back; gradient descent stays at either, and two layers do not jump.",
    source="Wang, Jacot 2024",
    criteria=(
        Criterion(
            name="share of runs that lose a rank, three layers at the largest learning rate",
            predicted=1.0,
            measured=noisy("lost", CASES[0], 3),
            band=at_least(0.7),
            reason="1 for ever more steps; jumps at η = 0.2 take about 2500 steps, exponentially distributed, so about "
            "10 % of the runs have not jumped after 6000",
            control=noisy("lost", CASES[0], 2),
            control_name="two layers",
        ),
        Criterion(
            name="the same without L2",
            predicted=0.0,
            measured=noisy("lost", CASES[2], 3),
            band=at_most(0.05),
            reason="the loss is 0 at the target, where single entries have no noise",
            control=noisy("lost", CASES[0], 3),
            control_name="with L2",
        ),
        Criterion(
            name="the same with L2 at the smallest learning rate",
            predicted=0.0,
            measured=noisy("lost", CASES[0], 3, 0),
            band=at_most(0.1),
            reason="the waiting time grows exponentially with 1/η, far above the steps taken",
            control=noisy("lost", CASES[0], 3),
            control_name="the largest learning rate",
        ),
        Criterion(
            name="share of runs that return to rank two, three layers, at worst",
            predicted=0.0,
            measured=returned(3),
            band=at_most(0.01),
            reason="a lost mode has no noise of first order, so its weights decay by L2; none is expected",
            control=returned(2),
            control_name="two layers from rank one",
        ),
        Criterion(
            name="change of rank without noise from rank two and one, three layers, at worst",
            predicted=0.0,
            measured=quiet_changes(3),
            band=at_most(0.01),
            reason="both are minima",
            control=quiet_changes(2),
            control_name="two layers",
        ),
    ),
    correction="A singular value that dips is not a rank that is lost: of 128 runs at each of six learning rates from "
    "0.2 to 0.5, up to 4 % rose again from below 0.02, none that had stayed there for 500 steps.",
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw single runs, and the share of runs that lost a rank."""
    return _runs_figure(data), _shares_figure(data)


def _runs_figure(data: xr.Dataset) -> Figure:
    axis = Axis("second singular value", "second singular value of A", range=(0.0, 0.7))
    choices = []
    for layers in LAYERS[::-1]:
        for case in CASES:
            runs = data["second"].sel(layers=layers, case=case).isel(learning_rate=-1)[:DRAWN]
            lines = tuple(Series(f"seed {int(run['seed'])}", run.values, category(k)) for k, run in enumerate(runs))
            choices.append(Choice(f"{layers} layers, from {case}", axis, (Lines(lines),)))
    return Figure(
        "runs",
        "The smaller mode under noise",
        Caption(
            shows=f"Second singular value of A every {EVERY} steps at the largest learning rate, one run of each seed.",
            look_for="With three layers it falls to 0 at a random time and stays there; from 0 it never rises. With "
            "two layers it rises from 0 at once and stays up, as it does with three layers without L2.",
            source="Wang, Jacot 2024",
        ),
        charts=(Chart(Axis("step", "steps", values=data["time"].values), tuple(choices), choice_name="Runs"),),
    )


def _shares_figure(data: xr.Dataset) -> Figure:
    lines = []
    for k, rate in enumerate(data["learning_rate"].values.tolist()):
        shares = data["share_lost"].sel(layers=3, case=CASES[0], learning_rate=rate)
        middle, error = shares.mean("seed"), shares.std("seed") / max(data.sizes["seed"], 1) ** 0.5
        band = (middle - error).values, (middle + error).values
        lines.append(Series(f"η = {rate:g}", middle.values, category(k), low=band[0], high=band[1]))
    steps = float(data["steps_low"].sel(layers=3, case=list(CASES[:2])).sum())
    back = float(data["returned"].sel(layers=3, case=list(CASES[:2])).mean())
    return Figure(
        "shares",
        "Jumps to rank one",
        Caption(
            shows="Share of runs of three layers from rank two that have lost a mode. Mean over seeds, bands of one "
            "standard error.",
            look_for="The waiting time depends strongly on the learning rate. The runs spent "
            f"{steps:,.0f} steps at rank one, and {back:.1%} of them came back.",
            source="Wang, Jacot 2024",
        ),
        charts=(
            Chart(
                Axis("step", "steps", values=data["step"].values),
                (Choice("share", Axis("share", "share of runs", range=(-0.03, 1.05)), (Lines(tuple(lines)),)),),
            ),
        ),
    )


EXPERIMENT = Experiment(
    name="rank-jumps",
    title="Noise lowers the rank, one way",
    source="Wang, Jacot 2024",
    settings=Settings,
    paper={"learning_rates": (0.03, 0.05, 0.07, 0.1, 0.15, 0.2), "replicas": 100, "n_steps": 50_000},
    simulate=simulate,
    claims=(JUMPS,),
    figures=figures,
    seeds=10,
)
