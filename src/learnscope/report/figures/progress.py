"""Loss, accuracy, margins, and what the training loop logged."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category
from learnscope.report.figures.common import columns, has, sources, with_error

MOST_LOGGED = 4
WIDE = 30.0  # ratio of largest to smallest loss from which the axis is logarithmic
MARGINS = {"margin": "margin", "normalised_margin": "normalised margin"}
DEFINITIONS = (
    ("Margin", "The output for the right class minus the largest other one; positive where the answer is right."),
    (
        "Normalised margin",
        "The margin divided by the product of the spectral norms of all weights as matrices. Between networks of "
        "different depth these numbers cannot be compared.",
    ),
)


def progress(data: xr.Dataset) -> Figure | None:
    """Draw the probe's loss and accuracy, quantiles of the margins, and logged scalars over the steps."""
    if not data.sizes.get("step"):
        return None
    index, axis, notes = columns(data)
    shown = data.isel(step=index)
    logged = sorted(str(name) for name in data.data_vars if str(name).startswith("logged_") and has(data, str(name)))
    charts = [*_loss(shown, axis, logged), *_accuracy(shown, axis), *_margins(shown, axis)]
    others = [name for name in logged if name != "logged_loss" or not has(data, "probe_loss")]
    varying = [name for name in others if np.nanmax(data[name].values) > np.nanmin(data[name].values)]
    charts += [_logged(shown, axis, name) for name in varying[:MOST_LOGGED]]
    if not charts:
        return None
    if len(varying) > MOST_LOGGED:
        notes += (f"Of {len(varying)} logged scalars that vary, {MOST_LOGGED} are drawn.",)
    notes += tuple(
        f"Logged {name.removeprefix('logged_')} was {np.nanmax(data[name].values):.4g} throughout."
        for name in others
        if name not in varying
    )
    return Figure(
        "progress",
        "Progress on the probe",
        Caption(
            shows="Loss and accuracy on the probe, with one standard error either way, and quantiles of the margins; "
            "beside them what the training loop logged at the measured steps, which is of single batches.",
            look_for="A probe loss that rises while the accuracy stays: the network grows more confident about its "
            "mistakes. Margins that grow only as fast as the weights leave the normalised margin where it was.",
            source=sources(data, "margin", "probe_loss"),
            notes=notes,
        ),
        charts=tuple(charts),
        definitions=DEFINITIONS if has(data, "margin") else (),
    )


def _loss(data: xr.Dataset, axis: Axis, logged: list[str]) -> list[Chart]:
    if not has(data, "probe_loss"):
        return []
    series = [with_error(data, "probe_loss", "probe", category(0))]
    if "logged_loss" in logged:
        series.append(Series("logged by the training loop", data["logged_loss"].values, category(1), style="dashed"))
    values = np.concatenate([s.y[np.isfinite(s.y)] for s in series])
    wide = values.min() > 0 and values.max() > WIDE * values.min()
    units = str(data["probe_loss"].attrs.get("units", ""))
    title = f"loss ({units})" if units not in ("", "1") else "loss"
    y = (
        Axis("loss", title, "log", range=(float(values.min()) / 1.3, float(values.max()) * 1.3))
        if wide
        else Axis("loss", title)
    )
    return [_chart("Loss", axis, y, tuple(series))]


def _accuracy(data: xr.Dataset, axis: Axis) -> list[Chart]:
    if not has(data, "probe_accuracy"):
        return []
    y = Axis("accuracy", "accuracy (share of the probe)", range=(0.0, 1.02))
    return [_chart("Accuracy", axis, y, (with_error(data, "probe_accuracy", "probe", category(0)),))]


def _margins(data: xr.Dataset, axis: Axis) -> list[Chart]:
    choices = tuple(_margin(data, name, title) for name, title in MARGINS.items() if has(data, name))
    return [Chart(axis, choices, "Margins", choice_name="Margin", height=320)] if choices else []


def _margin(data: xr.Dataset, name: str, title: str) -> Choice:
    quantiles = data["quantile"].values
    values = data[name].values

    def at(quantile: float) -> np.ndarray:
        return values[:, int(np.abs(quantiles - quantile).argmin())]

    series = (
        Series("median and quartiles", at(0.5), category(0), low=at(0.25), high=at(0.75)),
        Series("5% quantile", at(0.05), category(3), style="dashed"),
        Series("95% quantile", at(0.95), category(2), style="dashed"),
    )
    return Choice(title, Axis(title, title), (Lines(series),))


def _logged(data: xr.Dataset, axis: Axis, name: str) -> Chart:
    title = name.removeprefix("logged_")
    return _chart(f"{title}, logged", axis, Axis(title, title), (Series(title, data[name].values, category(1)),))


def _chart(title: str, x: Axis, y: Axis, series: tuple[Series, ...]) -> Chart:
    return Chart(x, (Choice(y.name, y, (Lines(series),)),), title, height=320)
