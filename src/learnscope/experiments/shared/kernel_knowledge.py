"""What a tangent kernel knows of the labels, before and after training: measures, and the claims on them.

On n examples that were not trained on, with K φ_r = λ_r φ_r and ⟨φ_r, φ_r⟩ = n, a kernel knows the share
ω_r² = ⟨φ_r, y⟩² / n² of the labels along each component, the information I(φ_r; y), and the alignment
⟨K, y yᵀ⟩ / (‖K‖ n) once it is centred. The shares of all components sum to 1.

The claims are judged on a view of a sweep's Dataset, which has

    alignment     over seed, kernel
    share         over seed, kernel, rank
    information   over seed, kernel, rank
    error         over seed, learner: the kernels that learn, and "network"

with the kernels "before" training, "after" training of features, after "lazy" training, and, where it is asked for,
after training on "shuffled" labels.

Sources: J. Paccolat, L. Petrini, M. Geiger, K. Tyloo, M. Wyart (2021), Geometric compression of invariant manifolds in
neural networks; N. Cristianini et al. (2002) and C. Cortes et al. (2012) for the alignment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr
from torch import Tensor

from learnscope.laboratory import Claim, Criterion, at_least, at_most
from learnscope.laboratory.claims import Measure
from learnscope.observables.alignment import alignment
from learnscope.observables.label_components import component_information, label_components

View = Callable[[xr.Dataset], xr.Dataset]
COMPONENTS = 10  # leading components that are measured
CORRECTION = "The slides write ω_r² = ⟨φ_r, y⟩ / n²; the shares sum to 1 with a square on the product."


class Knowledge(NamedTuple):
    """What a kernel on n examples knows of their labels.

    Attributes:
        alignment: of the centred kernel with the labels.
        shares: [COMPONENTS] ω_r².
        information: [COMPONENTS] I(φ_r; y) in bits.
        components: [n, k] φ_r.
    """

    alignment: Tensor
    shares: Tensor
    information: Tensor
    components: Tensor


def knowledge(kernel: Tensor, y: Tensor, k: int = COMPONENTS) -> Knowledge:
    """Return what a kernel [n, n] knows of labels y [n], with its k leading components, at least ``COMPONENTS``.

    Examples:
        >>> import torch
        >>> y = torch.tensor([1.0, -1.0]).repeat(20)
        >>> found = knowledge(torch.outer(y, y) + 1e-3 * torch.diag(torch.linspace(0, 1, 40)), y)
        >>> round(float(found.alignment), 3), round(float(found.shares[0]), 3)
        (1.0, 1.0)
    """
    found = label_components(kernel, y, k)
    return Knowledge(
        alignment(kernel, y, centred=True),
        found.shares[:COMPONENTS],
        component_information(found.components[:, :COMPONENTS], y).value,
        found.components,
    )


def aligned(view: View, kernel: str) -> Measure:
    """Return the measure of the alignment of a kernel over that before training."""
    return lambda data: view(data)["alignment"].sel(kernel=kernel) / view(data)["alignment"].sel(kernel="before")


def gathered(view: View, kernel: str) -> Measure:
    """Return the measure of how much more of the label the leading components hold than before training."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        shares = view(data)["share"].sum("rank", skipna=False)
        return shares.sel(kernel=kernel) - shares.sel(kernel="before")

    return measure


def informed(view: View, kernel: str) -> Measure:
    """Return the measure of the most that one of the leading components knows of the label, in bits."""
    return lambda data: view(data)["information"].sel(kernel=kernel).max("rank")


def error_ratio(view: View, learner: str, other: str) -> Measure:
    """Return the measure of one mean test error over another, over all seeds."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        mean = view(data)["error"].mean("seed")
        return mean.sel(learner=learner, drop=True) / mean.sel(learner=other, drop=True)

    return measure


def kept_gain(view: View, kernel: str) -> Measure:
    """Return the measure of how much of what the network gains on the kernel before training a kernel gains on it.

    It is (ε_before − ε_kernel) / (ε_before − ε_network) for mean test errors ε over all seeds.
    """

    def measure(data: xr.Dataset) -> xr.DataArray:
        mean = view(data)["error"].mean("seed")
        gain = mean.sel(learner="before", drop=True) - mean
        return gain.sel(learner=kernel, drop=True) / gain.sel(learner="network", drop=True)

    return measure


def alignment_claim(view: View) -> Claim:
    """Return the claim that learning features turns the tangent kernel of a network on the stripe towards the label."""
    return Claim(
        name="kernel-alignment",
        statement="Learning features aligns the tangent kernel with the labels; its leading eigenvectors carry the "
        "label.",
        source="Paccolat, Petrini, Geiger, Tyloo, Wyart 2021; Petrini 2020, slides on kernel PCA",
        criteria=(
            Criterion(
                name="alignment of the centred kernel after training over that before",
                predicted=3.0,
                measured=aligned(view, "after"),
                band=at_least(2.0),
                reason="the prediction is that it grows; a factor of 2 is far beyond the scatter of a few percent",
                control=aligned(view, "lazy"),
                control_name="lazy training",
            ),
            Criterion(
                name=f"gain of the label's share in {COMPONENTS} components",
                predicted=0.2,
                measured=gathered(view, "after"),
                band=at_least(0.15),
                reason="it is 0.32 before, and functions of x₁ alone hold nearly all of the label; scatter 0.03",
                control=gathered(view, "lazy"),
                control_name="lazy training",
            ),
            Criterion(
                name="most bits that one component has of the label",
                predicted=1.0,
                measured=informed(view, "after"),
                band=at_least(0.8),
                reason="a function of x₁ that is not monotonous knows all but what lies near the interface",
                control=informed(view, "before"),
                control_name="the kernel before training",
            ),
        ),
        correction=CORRECTION,
    )


def classifier_claim(view: View, *further: Criterion) -> Claim:
    """Return the claim that the kernel after training on the stripe is as good as the network, on further criteria."""
    return Claim(
        name="final-ntk-svc",
        statement="A support-vector classifier with the tangent kernel after training does about as well as the "
        "network.",
        source="Paccolat, Petrini, Geiger, Tyloo, Wyart 2021, abstract",
        criteria=(
            Criterion(
                name="test error with the kernel after training over that before",
                predicted=0.3,
                measured=error_ratio(view, "after", "before"),
                band=at_most(0.5),
                reason="the network's own gain is a factor of 3 at these sizes; sampling a tenth",
                control=error_ratio(view, "lazy", "before"),
                control_name="the kernel after lazy training",
                pooled=True,
            ),
            Criterion(
                name="test error with the kernel after training over that of the network",
                predicted=1.0,
                measured=error_ratio(view, "after", "network"),
                band=at_most(2.0),
                reason="as good as the network, within the factor that finite width and few examples leave",
                control=error_ratio(view, "before", "network"),
                control_name="the kernel before training",
                pooled=True,
            ),
            *further,
        ),
    )


def signatures_claim(view: View) -> Claim:
    """Return the claim that the tangent kernel of a network on images of digits turns as on the stripe."""
    return Claim(
        name="mnist-kernel-pca",
        statement="Digits show the signatures of the stripe model: feature training aligns the tangent kernel with the "
        "labels, and more of the labels lies along its leading components.",
        source="Paccolat, Petrini, Geiger, Tyloo, Wyart 2021; Petrini 2020",
        criteria=(
            Criterion(
                name="centred alignment after feature training over that before",
                predicted=np.inf,
                measured=aligned(view, "after"),
                band=at_least(2.0),
                reason="finite training set: in the stripe model the alignment grows by 2.5 to 3 at a few hundred "
                "points",
                control=aligned(view, "lazy"),
                control_name="lazy training",
            ),
            Criterion(
                name="the same, against training on shuffled labels",
                predicted=np.inf,
                measured=aligned(view, "after"),
                band=at_least(2.0),
                reason="as above",
                control=aligned(view, "shuffled"),
                control_name="feature training on shuffled labels",
            ),
            Criterion(
                name="gain of the labels' share along ten components",
                predicted=1.0,
                measured=gathered(view, "after"),
                band=at_least(0.15),
                reason="as in the stripe model, where the share grows by 0.2 from 0.32; on digits it starts higher",
                control=gathered(view, "lazy"),
                control_name="lazy training",
            ),
        ),
    )
