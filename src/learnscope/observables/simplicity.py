"""How much of the network's information about the label simpler models already have."""

from __future__ import annotations

import torch
import xarray as xr

from learnscope.estimate import Estimate
from learnscope.observables.information import ESTIMATOR, SOURCE, explained_information
from learnscope.observables.observable import Need, State, Task, variable
from learnscope.observables.progress import predicted_classes


class PerformanceCorrelation:
    """μ_Y(F;L) = I(F;Y) - I(F;Y|L) and its parts, against every simpler model of the ladder."""

    name = "simplicity"
    needs: frozenset[Need] = frozenset({"outputs"})

    def applies_to(self, task: Task | None) -> bool:
        """Return whether labels are classes."""
        return task == "classification"

    def measure(self, state: State) -> xr.Dataset:
        """Measure against each of ``state.simple_predictions``."""
        network = predicted_classes(state.outputs)
        ladder = state.simple_predictions
        results = [
            explained_information(network, p.classes, state.y, generator=state.generator(f"simplicity/{p.name}"))
            for p in ladder
        ]
        variables = _variables(
            "network_information", "I(F;Y), what the network knows of the label", [], results[0].network
        )
        parts = {
            "simple_information": (
                "I(L;Y), what the simpler model knows of the label",
                [r.simple for r in results],
            ),
            "conditional_information": (
                "I(F;Y|L), what the network knows beyond the simpler model",
                [r.conditional for r in results],
            ),
            "explained_information": (
                "μ_Y(F;L), what of the network's knowledge the simpler model explains",
                [r.explained for r in results],
            ),
        }
        for name, (long_name, estimates) in parts.items():
            variables |= _variables(name, long_name, ["simple_model"], _stacked(estimates))
        return xr.Dataset(variables, coords={"simple_model": [p.name for p in ladder]})


def _stacked(estimates: list[Estimate]) -> Estimate:
    low, high = zip(*(e.interval() for e in estimates), strict=True)
    return Estimate(
        value=torch.stack([e.value for e in estimates]),
        standard_error=torch.stack([e.standard_error for e in estimates]),
        n=torch.stack([e.n for e in estimates]),
        converged=torch.stack([e.converged for e in estimates]),
        estimator=estimates[0].estimator,
        bounds=(torch.stack(low), torch.stack(high)),
    )


def _variables(name: str, long_name: str, dims: list[str], estimate: Estimate) -> dict[str, xr.Variable]:
    low, high = estimate.interval()
    common = {"units": "bits", "source": SOURCE}
    return {
        name: variable(estimate.value, dims, long_name=long_name, estimator=ESTIMATOR, **common),
        f"{name}_standard_error": variable(
            estimate.standard_error, dims, long_name=f"standard error of {long_name}", **common
        ),
        f"{name}_low": variable(low, dims, long_name=f"lower end of the 95 % interval of {long_name}", **common),
        f"{name}_high": variable(high, dims, long_name=f"upper end of the 95 % interval of {long_name}", **common),
        f"{name}_converged": variable(
            estimate.converged.double(), dims, long_name="whether 90 % of the joint distribution was seen"
        ),
    }
