"""A small step of gradient descent moves all predictions by the tangent kernel, whatever the network and the loss.

For gradient flow on (1/n) Σ_μ ℓ(f(x_μ), y_μ) it is an identity, at any time and on any x,

    df(x)/dt = −(1/n) Σ_μ Θ_t(x, x_μ) ℓ'(f(x_μ), y_μ),   Θ_t(x, x') = ⟨∂f(x)/∂θ, ∂f(x')/∂θ⟩,

so a step of gradient descent of length η misses it by O(η) of the change, on training and test points alike, as long
as that is more than the rounding of f. Networks: three layers of tanh, a convolutional network with smooth rectifiers,
and one head of attention; losses: half the square, and the logistic loss. η is a multiple of n/λ_max(Θ); steps are
taken at the start and in the midst of training, where a tenth of the loss is left or a number of steps is over.

Source: A. Jacot, F. Gabriel, C. Hongler (2018), Neural tangent kernel, section 4.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from xarray.ufuncs import log

from learnscope import laboratory
from learnscope.kernels import max_learning_rate, tangent_kernel
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Point, at_most, median_over_seeds, within
from learnscope.laboratory.claims import Measure
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, category

Loss = Callable[[Tensor, Tensor], Tensor]

RATES = (1e-4, 1e-3, 1e-2, 1e-1)  # of the step, times n/λ_max; shorter ones meet the rounding of f
ROUNDING = 1000  # times 2^-53 |f|: ten times and more what sums over the units of a layer are off by
MIDST = 0.1  # of the first loss: where training is looked into; once examples are fitted, f moves by its rounding only
LOSSES: dict[str, Loss] = {
    "squared": lambda f, y: (f - y).square() / 2,
    "logistic": lambda f, y: nn.functional.softplus(-f * y),
}


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    n_train: int = Field(20, ge=2, description="examples")
    n_test: int = Field(20, ge=1, description="further examples")
    length: int = Field(6, ge=3, description="positions of an example")
    channels: int = Field(4, ge=1, description="numbers at each position")
    width: int = Field(16, ge=1, description="units of each layer")
    n_steps: int = Field(50, ge=1, description="the most steps of training before the second look")


class Attention(nn.Module):
    """One head of attention over positions, and a mean over what it finds: [n, positions, channels] to [n, 1]."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(channels, width) for _ in range(3))
        self.output = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs [n, 1]."""
        scores = self.query(x) @ self.key(x).mT / self.query.out_features**0.5
        return self.output((scores.softmax(-1) @ self.value(x)).tanh().mean(1))


def networks(length: int, channels: int, width: int, generator: torch.Generator) -> dict[str, nn.Module]:
    """Return one network of each kind for examples [n, length, channels].

    Weights are drawn from N(0, 1/fan_in), biases from N(0, 1/outputs).
    """
    found: dict[str, nn.Module] = {
        "fully connected": nn.Sequential(
            nn.Flatten(),
            nn.Linear(length * channels, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, 1),
        ),
        "convolutional": nn.Sequential(
            nn.Conv1d(length, width, 3, padding=1),
            nn.Softplus(),
            nn.Conv1d(width, width, 3, padding=1),
            nn.Softplus(),
            nn.Flatten(),
            nn.Linear(width * channels, 1),
        ),
        "attention": Attention(channels, width),
    }
    for network in found.values():
        network.double()
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else len(parameter)
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / fan_in**0.5
            parameter.data.copy_(drawn)
    return found


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Take steps of every length with every network and loss, at the start and in training."""
    shape = (point.n_train + point.n_test, point.length, point.channels)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    y = torch.randn(point.n_train, generator=generator, dtype=torch.float64).sign()
    sizes = point.length, point.channels, point.width
    first, others = networks(*sizes, generator), networks(*sizes, generator)
    looks = []
    for kind, network in first.items():
        wrong = _kernel(others[kind], x, point.n_train)
        for loss in LOSSES.values():
            trained = copy.deepcopy(network)
            looks.append(missed_by_kernels(trained, wrong, loss, x, y))
            _train(trained, loss, x[: point.n_train], y, point.n_steps)
            looks.append(missed_by_kernels(trained, wrong, loss, x, y))
    missed, rounding = (
        torch.stack(each).unflatten(0, (len(first), len(LOSSES), 2)) for each in zip(*looks, strict=True)
    )
    cases = ["network", "loss", "when"]
    return xr.Dataset(
        {
            "missed": ([*cases, "kernel", "rate"], missed.numpy(), {"long_name": "|δf + η Θ ℓ'/n| / |δf|"}),
            "rounding": ([*cases, "rate"], rounding.numpy(), {"long_name": f"{ROUNDING} times 2^-53 |f| / |δf|"}),
        },
        coords={
            "network": list(first),
            "loss": list(LOSSES),
            "when": ["start", "training"],
            "kernel": ["its own", "of another draw"],
            "rate": list(RATES),
        },
    )


def missed_by_kernels(network: nn.Module, wrong: Tensor, loss: Loss, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return |δf + η Θ ℓ'/n| / |δf| [kernel, rate] of steps from here, and below what it is rounding [rate].

    The kernels are the network's own, and another one.
    """
    n, f, gradients = len(y), network(x)[:, 0], _gradients(network, loss, x[: len(y)], y)
    before = f[:n].detach().requires_grad_()
    (slope,) = torch.autograd.grad(loss(before, y).sum(), before)
    kernel = _kernel(network, x, n)
    unit, rows, rounding = n / torch.linalg.eigvalsh(kernel[:n])[-1], [], []
    for rate in RATES:
        moved = {name: p - rate * unit * g for (name, p), g in zip(network.named_parameters(), gradients, strict=True)}
        change = (functional_call(network, moved, (x,))[:, 0] - f).detach()
        flows = torch.stack([-rate * unit / n * theta @ slope for theta in (kernel, wrong)])
        rows.append((change - flows).norm(dim=-1) / change.norm())
        rounding.append(ROUNDING * 2**-53 * f.detach().norm() / change.norm())
    return torch.stack(rows, dim=-1), torch.stack(rounding)


def _train(network: nn.Module, loss: Loss, x: Tensor, y: Tensor, n_steps: int) -> None:
    """Descend in place to a tenth of the loss, by steps of an eighth of the largest that is stable at first."""
    rate = max_learning_rate(_kernel(network, x, len(x))) / 8
    first = loss(network(x)[:, 0], y).mean()
    for _ in range(n_steps):
        now = loss(network(x)[:, 0], y).mean()
        if now < MIDST * first:
            return
        gradients = torch.autograd.grad(now, list(network.parameters()))
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.data -= rate * gradient


def _kernel(network: nn.Module, x: Tensor, n: int) -> Tensor:
    """Return Θ between all examples and the first n of them."""
    kernel = tangent_kernel(network, x, x[:n], outputs=0)
    assert isinstance(kernel, Tensor)
    return kernel


def _gradients(network: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss(network(x)[:, 0], y).mean(), list(network.parameters()))


def exponent(kernel: str) -> Measure:
    """Return the measure of the exponent of what is missed in η, the one farthest from 1 over all cases.

    It is the slope over all lengths of which the next order is more than rounding; infinite for fewer than three.
    """

    def measure(data: xr.Dataset) -> xr.DataArray:
        missed = data["missed"].sel(kernel=kernel, drop=True)
        values = log(missed.where(missed > data["rounding"])).stack(case=["network", "loss", "when"])
        fit = values.assign_coords(rate=np.log(values["rate"].values)).polyfit("rate", 1)
        slopes = fit["polyfit_coefficients"].sel(degree=1, drop=True).where(values.notnull().sum("rate") > 2, np.inf)
        return slopes.isel(case=abs(slopes - 1).argmax("case")).drop_vars(["case", "network", "loss", "when"])

    return measure


def smallest_step(kernel: str) -> Measure:
    """Return the measure of what is missed of the smallest step, the largest over all cases."""
    return lambda data: data["missed"].sel(kernel=kernel, drop=True).isel(rate=0).max(["network", "loss", "when"])


CLAIM = Claim(
    name="ntk-flow",
    statement="Under gradient flow predictions move by df(x)/dt = −(1/n) Σ Θ_t(x, x_μ) ℓ'(f(x_μ), y_μ), for any "
    "network, loss, time and x; a step of gradient descent of length η misses that by O(η) of the change.",
    source="Jacot, Gabriel, Hongler 2018, section 4",
    criteria=(
        Criterion(
            name="exponent in η of the share of the change that the kernel misses, farthest from 1 over all cases",
            predicted=1.0,
            measured=exponent("its own"),
            band=within(absolute=0.05),
            reason="the next order is η λ_max/n relative to this one, at most 0.1 times the curvature of the network",
            control=exponent("of another draw"),
            control_name="the kernel of another draw of the network",
        ),
        Criterion(
            name="share of the change that the kernel misses at η = 1e-4 n/λ_max, largest over all cases",
            predicted=0.0,
            measured=smallest_step("its own"),
            band=at_most(1e-3),
            reason="η λ_max/n times how far outputs are from linear over the step that would fit them, of order one to "
            "ten; ten times that",
            control=smallest_step("of another draw"),
            control_name="the kernel of another draw of the network",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw what is missed against the length of the step."""
    choices = []
    for loss in data["loss"].values:
        for when in data["when"].values:
            part = data["missed"].sel(loss=loss, when=when)
            series = [
                median_over_seeds(part.sel(network=name, kernel="its own"), str(name), category(k))
                for k, name in enumerate(data["network"].values)
            ]
            series += [
                median_over_seeds(
                    part.sel(network=name, kernel="of another draw"), f"{name}, other kernel", category(k), "dashed"
                )
                for k, name in enumerate(data["network"].values)
            ]
            title = str(data["missed"].attrs["long_name"])
            place = "at the start" if when == "start" else "in training"
            choices.append(Choice(f"{loss} loss, {place}", Axis("missed", title, "log"), (Lines(tuple(series)),)))
    return (
        Figure(
            "step",
            "What the tangent kernel misses of a step",
            Caption(
                shows="The part of the change of all predictions, on training and test points, that the tangent "
                f"kernel does not tell, against the length of the step of gradient descent. {SEEDS}",
                look_for="Slope 1 for every network and loss, at the start and in training: the flow is exact. The "
                "kernel of another draw of the same network (dashed) misses most of the change at any length. Where a "
                "curve flattens at the shortest steps, rounding is left, which does not count.",
                source="Jacot, Gabriel, Hongler 2018, section 4",
            ),
            charts=(
                Chart(
                    Axis("rate", "η λ_max / n", "log", data["rate"].values),
                    tuple(choices),
                    choice_name="Loss",
                    starts=(0, 3),
                    height=420,
                ),
            ),
        ),
    )


EXPERIMENT = Experiment(
    name="kernel-flow",
    title="Predictions flow along the tangent kernel",
    source="Jacot, Gabriel, Hongler 2018",
    settings=Settings,
    paper={"n_train": 100, "n_test": 100, "length": 16, "channels": 8, "width": 128, "n_steps": 1000},
    version=2,
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
)
