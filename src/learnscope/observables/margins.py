"""Margins, plain and normalised by the product of the layers' spectral norms."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import xarray as xr
from torch import Tensor

from learnscope.observables.observable import Need, State, Task, variable

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
SOURCE = "Bartlett, Foster, Telgarsky 2017 (arXiv:1706.08498)"


def margins(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the margin of each example: f_y(x) - max_{k ≠ y} f_k(x); (2y - 1) f(x) for a single logit.

    Args:
        outputs: [..., n, outputs], any floating dtype; computed in float64.
        y: [..., n] integer classes.

    Returns:
        [..., n] float64; positive where the example is classified correctly.

    Examples:
        >>> margins(torch.tensor([[3.0, 1.0, 0.5]]), torch.tensor([0])).item()
        2.0
    """
    outputs = outputs.double()
    if outputs.shape[-1] == 1:
        return (2 * y.double() - 1) * outputs[..., 0]
    own = outputs.gather(-1, y.unsqueeze(-1))
    others = outputs.scatter(-1, y.unsqueeze(-1), -torch.inf)
    return (own.squeeze(-1)) - others.amax(-1)


def quantile_errors(values: Tensor, points: Tensor) -> Tensor:
    """Return the standard errors of quantiles, from the values that a binomial standard deviation lies away.

    Half of Q(p + s) - Q(p - s) with s = √(p (1 - p) / n), p ± s kept within [0, 1] (Woodruff 1952).

    Args:
        values: [n].
        points: [k] the probabilities p.

    Returns:
        [k], in the units and dtype of ``values``.

    Examples:
        >>> quantile_errors(torch.arange(101.0), torch.tensor([0.5]))
        tensor([4.9752])
    """
    step = (points * (1 - points) / len(values)).sqrt()
    return (
        torch.quantile(values, (points + step).clamp(max=1)) - torch.quantile(values, (points - step).clamp(min=0))
    ) / 2


def log_spectral_product(spectral_norms: Mapping[str, float]) -> float:
    """Return Σ_l log ‖W_l‖, the logarithm of the product of the spectral norms; -inf if one is zero."""
    return sum(math.log(norm) if norm > 0 else -math.inf for norm in spectral_norms.values())


class Margins:
    """Quantiles of the margins, plain and divided by Π_l ‖W_l‖.

    The product runs over every weight with two or more dimensions, each as a matrix [out, everything else];
    for a convolution this is the norm of the reshaped kernel, not of the convolution as a linear map.
    """

    name = "margins"
    needs: frozenset[Need] = frozenset({"outputs", "parameters"})

    def applies_to(self, task: Task | None) -> bool:
        """Return whether labels are classes."""
        return task == "classification"

    def measure(self, state: State) -> xr.Dataset:
        """Measure on the whole probe."""
        values = margins(state.outputs, state.y)
        norms = {
            name: float(state.singular_values(name)[0])
            for name, weight in state.parameters.items()
            if weight.ndim >= 2 and weight.numel()
        }
        log_product = log_spectral_product(norms)
        points = torch.tensor(QUANTILES, dtype=torch.float64, device=values.device)
        quantiles = torch.quantile(values, points)
        return xr.Dataset(
            {
                "margin": variable(quantiles, ["quantile"], long_name="margin f_y - max of the others", source=SOURCE),
                "margin_standard_error": variable(
                    quantile_errors(values, points), ["quantile"], long_name="standard error of the margin's quantile"
                ),
                "normalised_margin": variable(
                    quantiles * math.exp(-log_product) if math.isfinite(log_product) else quantiles * torch.nan,
                    ["quantile"],
                    long_name="margin divided by the product of the spectral norms of the weights",
                    source=SOURCE,
                ),
                "log_spectral_product": variable(
                    log_product,
                    long_name="logarithm of the product of the spectral norms of the weights",
                    units="nats",
                ),
            },
            coords={"quantile": list(QUANTILES)},
        )
