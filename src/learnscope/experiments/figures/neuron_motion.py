"""How far equations of motion are off, the field that moves a neuron's bend, and neurons on their way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from learnscope.laboratory import SEEDS, medians
from learnscope.observables.neurons import active_by_kink
from learnscope.report.chart import Axis, Caption, Cells, Chart, Choice, ColourScale, Figure, Groups, Points, Slider

WINDOW = 4.0  # units of the inputs that are drawn on each side of the origin


def errors_figure(data: xr.Dataset) -> Figure:
    """Draw the errors of the equation of motion, in each of its forms, against the dimension."""
    names = {str(name): str(name) for name in data["formula"].values}
    lines = medians(data["velocity_error"].clip(1e-17), "formula", names)
    axis = Axis("error", "relative error of dz/dt", "log", range=(1e-17, 30.0))
    return Figure(
        "equation",
        "The equation of motion, corrected and as on the slide",
        Caption(
            shows="Distance of the equation to the derivative of z along the gradient of the loss, over the size of "
            f"the latter, for random networks. {SEEDS}",
            look_for="With 1/d the equation is exact up to rounding; the slide's is right in one dimension only.",
            source="Petrini 2020",
        ),
        charts=(Chart(Axis("dim", "dimension d", "log", data["dim"].values), (Choice("error", axis, (lines,)),)),),
    )


def field_figure(data: xr.Dataset, bracket: Callable[[Tensor, Tensor], Tensor]) -> Figure:
    """Draw the size of the field's bracket over the plane, for the input x of the first seed."""
    edge = np.linspace(-WINDOW, WINDOW, 81)
    x = torch.from_numpy(data["input"].isel(seed=0).values)
    plane = torch.from_numpy(np.stack(np.meshgrid(edge, edge), -1).reshape(-1, 2))
    size = bracket(plane, x).norm(dim=1)
    rest = (-2 * x / x.square().sum()).tolist()
    row = int(np.abs(edge - rest[1]).argmin())
    rows = Axis("z₂", "z₂", "names", np.array([f"{value:.1f}" for value in edge]))
    scale = ColourScale("size of the field", 0.03, 30.0, logarithmic=True)
    choices = []
    for name, sign in (("b < 0", -1.0), ("b > 0", 1.0)):
        active = active_by_kink(plane, torch.full((len(plane),), sign).double(), x[None])[0]
        values = torch.where(active, size, torch.nan).reshape(81, 81).numpy()
        inside = name == "b > 0" and max(map(abs, rest)) <= WINDOW
        choices.append(
            Choice(name, rows, (Cells(values, ((rest[0], row),) if inside else (), "place of rest"),), colours=scale)
        )
    return Figure(
        "field",
        "The field of one training point",
        Caption(
            shows=f"|z + (2 (z·x) z − |z|² x)/2| for the training point x = ({x[0]:.2f}, {x[1]:.2f}) of the first "
            "seed. Where the point does not activate a neuron that bends at z, the cell is empty.",
            look_for="For b < 0 the active places form the disc with diameter from the origin to x; its only zero is "
            "the origin. For b > 0 they are everything else, with a zero (marked, if it is in view) opposite to x.",
            source="Petrini 2020, dynamics of z, p = 1",
        ),
        charts=(
            Chart(Axis("z₁", "z₁", "linear", edge), tuple(choices), choice_name="Sign", starts=(0, 1), height=460),
        ),
    )


def motion_figure(data: xr.Dataset, fates: tuple[str, ...]) -> Figure:
    """Draw neurons of the first seed that see one training point, coloured by what becomes of them."""
    first = data.isel(seed=0)
    z = first["kink"].values
    z = np.where(np.abs(z).max(-1, keepdims=True) <= WINDOW, z, np.nan)
    fate = first["fate_of"].values
    groups = Groups("fate", fates, fate, tuple(f"neuron {k}, {fates[kind]}" for k, kind in enumerate(fate)))
    views = tuple(Points(places, ("z₁", "z₂")) for places in z)
    return Figure(
        "motion",
        "Neurons on their way",
        Caption(
            shows="The points where the neurons of the first seed bend, through training on one point, k t from 0 to "
            f"{float(data['time'][-1]):g}; those outside of the window of {WINDOW:g} are not drawn.",
            look_for="Neurons that stay active gather in one place, coming from both signs of the bias, some by way of "
            "infinity, where b changes its sign.",
            source="Petrini 2020, dynamics of z, p = 1",
        ),
        charts=(
            Chart(
                Axis("z₁", "z₁", range=(-WINDOW, WINDOW)),
                (Choice("neurons", Axis("z₂", "z₂", range=(-WINDOW, WINDOW)), views),),
                slider=Slider("k t", first["time"].values),
                groups=groups,
                height=480,
            ),
        ),
    )
