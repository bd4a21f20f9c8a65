"""Test errors, alignment and components of tangent kernels before and after training."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from learnscope.laboratory import SEEDS, medians
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure

LAZY = ("lazy", "lazy network")  # kernels and learners that are drawn dashed


def _tasks(data: xr.Dataset) -> dict[str, xr.Dataset]:
    """Return the data of each task by what stands above its panel."""
    return {str(task): data.sel(task=task) for task in data["task"].values}


def _panels(data: xr.Dataset) -> tuple[int, ...]:
    return tuple(range(min(2, data.sizes["task"])))


def error_figure(data: xr.Dataset, learners: Mapping[str, str]) -> Figure:
    """Draw the learning curves of all learners on both tasks."""
    axis = Axis("error", "test error", "log")
    choices = tuple(
        Choice(name, axis, (medians(chosen["error"], "learner", learners, LAZY),))
        for name, chosen in _tasks(data).items()
    )
    unfinished = int((data["fitted"] < 1).sum())
    caption = Caption(
        "Test errors of the network in both regimes, and of support-vector classifiers of largest margin with its "
        f"tangent kernel before and after training. {SEEDS} Trainings that ended before their margins were reached: "
        f"{unfinished} of {data['fitted'].size}.",
        "On the stripe the kernel after feature training comes near the network, and the kernel before training stays "
        "behind with all that is lazy. On images the kernel after training is even ahead.",
        "Paccolat, Petrini, Geiger, Tyloo, Wyart 2021",
    )
    chart = Chart(_sizes(data), choices, choice_name="Task", starts=_panels(data), height=420)
    return Figure("errors", "The kernel after training learns like the network", caption, (chart,))


def alignment_figure(data: xr.Dataset, kernels: Mapping[str, str]) -> Figure:
    """Draw the alignment of the kernels with the labels of both tasks."""
    axis = Axis("alignment", "alignment of the centred kernel", range=(0.0, 1.05 * float(data["alignment"].max())))
    choices = tuple(
        Choice(name, axis, (medians(chosen["alignment"], "kernel", kernels, LAZY),))
        for name, chosen in _tasks(data).items()
    )
    caption = Caption(
        "Alignment of the centred tangent kernel with the labels, on test examples: 1 for a kernel that knows nothing "
        f"but the label. {SEEDS}",
        "Feature training turns the kernel towards the labels. Lazy training leaves it, and shuffled labels turn it "
        "towards nothing that holds for test examples.",
        "Cristianini et al. 2002; Cortes et al. 2012; Paccolat, Petrini, Geiger, Tyloo, Wyart 2021",
    )
    chart = Chart(_sizes(data), choices, choice_name="Task", starts=_panels(data))
    return Figure("alignment", "The kernel turns towards the labels", caption, (chart,))


def component_figure(data: xr.Dataset, kernels: Mapping[str, str]) -> Figure:
    """Draw what the leading components of the kernels know of the labels, for the most examples."""
    charts = tuple(
        Chart(
            Axis("rank", "rank r of the component", values=data["rank"].values),
            (
                _components("share", "share of the labels in r components", chosen["share"].cumsum("rank"), kernels),
                _components("information", "information on the label, bits", chosen["information"], kernels),
            ),
            name,
            starts=(0, 1),
        )
        for name, chosen in _tasks(data.isel(n_train=-1)).items()
    )
    caption = Caption(
        f"What the leading components of the tangent kernel know of the labels of test examples, for p = "
        f"{int(data['n_train'][-1])}: their shares up to each component, and the information of each alone. {SEEDS}",
        "After feature training five components hold more of the labels than ten did before, and one or two alone tell "
        "much of them. Lazy training changes nothing.",
        "Paccolat, Petrini, Geiger, Tyloo, Wyart 2021; Petrini 2020, slides on kernel PCA",
    )
    return Figure("components", "A few components carry the labels", caption, charts)


def _components(name: str, title: str, values: xr.DataArray, kernels: Mapping[str, str]) -> Choice:
    return Choice(name, Axis(name, title, range=(0.0, 1.02)), (medians(values, "kernel", kernels, LAZY),))


def _sizes(data: xr.Dataset) -> Axis:
    return Axis("n_train", "examples p", "names", data["n_train"].values.astype(str))
