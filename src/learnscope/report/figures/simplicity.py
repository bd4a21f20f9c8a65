"""What a linear model explains of what the network knows (Nakkiran et al. 2019)."""

from __future__ import annotations

import xarray as xr

from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category
from learnscope.report.figures.common import columns, converged, has, hollow_note, names_of, sources

QUANTITIES = ("network_information", "explained_information", "conditional_information", "simple_information")
DEFINITIONS = (
    (
        "I(F;Y), I(L;Y)",
        "Mutual information, in bits, between the label Y and the hard predictions of the network F or of the simpler "
        "model L on the probe; corrected for bias, with 95% bootstrap intervals over the examples.",
    ),
    (
        "μ(F;L) = I(F;Y) - I(F;Y|L)",
        "What the simpler model explains of the network's knowledge. I(F;Y|L) is what the network still tells about "
        "the label once the simpler model's answer is known. These are correlations on the probe: that a linear model "
        "explains the network does not show that the network computes linearly.",
    ),
)


def simplicity(data: xr.Dataset) -> Figure | None:
    """Draw I(F;Y), μ_Y(F;L), I(F;Y|L) and I(L;Y) over the steps; None without labels that are classes."""
    if not has(data, *QUANTITIES):
        return None
    index, axis, notes = columns(data)
    shown = data.isel(step=index)
    ladder = names_of(data, "simple_model")
    choices = tuple(_choice(shown.isel(simple_model=k), str(name)) for k, name in enumerate(ladder))
    only_linear = list(ladder) == ["linear"]
    model = "a linear model" if only_linear else "a simpler model"
    series = [s for choice in choices for view in choice.views if isinstance(view, Lines) for s in view.series]
    return Figure(
        "simplicity",
        f"What {model} explains of what the network knows",
        Caption(
            shows=f"Information about the label in the hard predictions of the network, F, and of {model}, L, on the "
            f"{data.sizes.get('example', 0):,} examples of the probe. Bands are 95% bootstrap intervals.",
            look_for=f"As long as the explained part runs along with what the network knows, the network's answers "
            f"hold little that {model} could not say; where the two part, it learns something beyond. If the explained "
            "part stays at the dashed line to the end, what was learned first was kept.",
            source=sources(data, *QUANTITIES),
            notes=notes + hollow_note(*series),
        ),
        charts=(Chart(axis, choices, choice_name="Simpler model"),),
        definitions=DEFINITIONS,
    )


def _choice(data: xr.Dataset, model: str) -> Choice:
    series = (
        _series(data, "network_information", "network knows, I(F;Y)", 0),
        _series(data, "explained_information", f"explained by the {model} model, μ(F;L)", 1),
        _series(data, "conditional_information", f"beyond the {model} model, I(F;Y|L)", 2),
        _series(data, "simple_information", f"the {model} model itself, I(L;Y)", 3, dashed=True),
    )
    return Choice(model, Axis("bits", "information about the label (bits)"), (Lines(series),))


def _series(data: xr.Dataset, name: str, title: str, k: int, *, dashed: bool = False) -> Series:
    low, high = (data[f"{name}_{end}"].values if f"{name}_{end}" in data else None for end in ("low", "high"))
    return Series(
        title,
        data[name].values,
        category(k),
        low=None if dashed else low,
        high=None if dashed else high,
        converged=converged(data, name),
        style="dashed" if dashed else "line",
    )
