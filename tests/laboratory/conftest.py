"""A small experiment whose numbers are known."""

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import Field

from learnscope import laboratory
from learnscope.laboratory import Claim, Criterion, Experiment, Grid, within
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category


class Settings(laboratory.Settings):
    dim: int = Field(3, ge=1, description="numbers in a sample")
    shift: Grid[float] = (0.0, 2.0)
    law: str = "normal"


def simulate(point, generator):
    sample = point.shift + torch.randn(point.dim, generator=generator, dtype=torch.float64)
    return xr.Dataset({"mean": float(sample.mean()), "sample": ("draw", sample.numpy())})


def mean_at(shift):
    return lambda data: data["mean"].sel(shift=shift)


CRITERION = Criterion(
    name="mean of the shifted sample",
    predicted=2.0,
    measured=mean_at(2.0),
    band=within(0.5),
    reason="three standard errors",
    control=mean_at(0.0),
    control_name="no shift",
)


def figures(data):
    values = data["mean"].mean("seed").values
    lines = Lines((Series("mean", values, category(0)),))
    chart = Chart(
        Axis("shift", "shift", values=data["shift"].values), (Choice("mean", Axis("mean", "mean"), (lines,)),)
    )
    return (Figure("mean", "Means", Caption("The mean of each sample, averaged over seeds."), (chart,)),)


def make(**changes):
    parts = {
        "name": "shifted-means",
        "title": "Shifted <means>",
        "source": "Gauss 1809",
        "settings": Settings,
        "simulate": simulate,
        "claims": (Claim("shift", "A shift moves the mean.", "Gauss 1809", (CRITERION,)),),
        "figures": figures,
        "paper": {"dim": 300},
        "seeds": 5,
    }
    return Experiment(**(parts | changes))


@pytest.fixture
def experiment():
    return make()


@pytest.fixture
def variant():
    """Return the function that makes the experiment with some parts changed."""
    return make


@pytest.fixture
def criterion():
    return CRITERION


@pytest.fixture
def memory_store():
    """Return the address of an empty store in memory."""
    import fsspec

    system = fsspec.filesystem("memory")
    system.store.clear()
    yield "memory://runs"
    system.store.clear()


@pytest.fixture
def with_nan():
    """Return a simulate that is not finite at seed-dependent points with a shift."""

    def simulate_with_nan(point, generator):
        data = simulate(point, generator)
        if point.shift and float(data["mean"]) > 2.0:
            data["mean"] = np.nan
        return data

    return simulate_with_nan
