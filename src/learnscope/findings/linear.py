"""Until when a linear model explains what the network knows."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.findings.finding import Finding

EXPLAINED = 0.85
LEAST_INFORMATION = 0.05
LEAST_SHARE = 0.25
RETAINED = 0.15
FIGURE = "simplicity"


def linear_explains(data: xr.Dataset) -> list[Finding]:
    """Say until which step the simplest model explains the network, and how much lies beyond it at the end.

    Rule: over the measured steps where the network knows something (the lower end of I(F;Y)'s interval is above 0.05
    bits and above a quarter of I(L;Y)), the last one up to which μ_Y(F;L) ≥ 0.85 I(F;Y) throughout. What lies beyond at
    the end is named only if the interval of I(F;Y|L) excludes zero. Silent if the network never knows that much, or
    knows nothing at the end, or if the probe is too small for the bits to be more than rough.
    Source: Nakkiran et al. 2019; 0.85 leaves room for the 5 to 8 % that they also see.
    """
    if "explained_information" not in data or not data.sizes["step"]:
        return []
    simple = data.isel(simple_model=0)
    name = str(simple["simple_model"].values)
    model = "a linear model" if name == "linear" else f"the simpler model {name!r}"
    least = np.maximum(LEAST_INFORMATION, LEAST_SHARE * simple["simple_information"].values)
    knows = simple["network_information_low"].values > least
    if not knows.any() or not knows[-1] or not bool(simple["network_information_converged"].values[-1]):
        return []
    total, explained = simple["network_information"].values, simple["explained_information"].values
    share = explained / np.where(knows, total, np.nan)
    held = share[knows] >= EXPLAINED
    steps = data["step"].values[knows]
    until = len(held) if held.all() else int(np.argmin(held))
    beyond, low = float(simple["conditional_information"][-1]), float(simple["conditional_information_low"][-1])
    evidence: dict[str, float | str] = {
        "network_information": float(total[-1]),
        "explained_information": float(explained[-1]),
        "conditional_information": beyond,
        "simple_information": float(simple["simple_information"][-1]),
    }
    sentence = _until(model, until, steps, share[knows])
    if low > 0 and until < len(held):
        sentence += f" At the end the network knows {total[-1]:.2f} bits, {beyond:.2f} of them beyond {model}."
    at = int(steps[until - 1]) if until else int(steps[0])
    return [Finding("linear_explains", sentence, evidence, at, FIGURE)]


def _until(model: str, until: int, steps: np.ndarray, share: np.ndarray) -> str:
    start = model[0].upper() + model[1:]
    if until == 0:
        return (
            f"{start} never explained the network: it accounts for {max(share[0], 0):.0%} of what the network knew of "
            f"the label at step {steps[0]:,}, when it first knew much."
        )
    if until == len(steps):
        return (
            f"{start} explains at least {EXPLAINED:.0%} of what the network knows of the label, to the end of training."
        )
    return (
        f"Until step {steps[until - 1]:,}, {model} explains at least {EXPLAINED:.0%} of what the network knows of the "
        f"label; after that the network learns what {model} cannot say."
    )


def linear_part_is_kept(data: xr.Dataset) -> list[Finding]:
    """Say whether the network kept what the simplest model knows while it learned more.

    Rule: at the end |μ / I(L;Y) - 1| ≤ 0.15 while I(F;Y) ≥ 1.1 I(L;Y), and I(L;Y) ≥ 0.05 bits; otherwise silent.
    Source: Nakkiran et al. 2019, second claim.
    """
    if "explained_information" not in data or not data.sizes["step"]:
        return []
    last = data.isel(simple_model=0, step=-1)
    linear, network = float(last["simple_information"]), float(last["network_information"])
    explained = float(last["explained_information"])
    if not np.isfinite([linear, network, explained]).all():
        return []
    if linear < LEAST_INFORMATION or network < 1.1 * linear or abs(explained / linear - 1) > RETAINED:
        return []
    name = str(last["simple_model"].values)
    return [
        Finding(
            "linear_part_is_kept",
            f"What the {name} model knows was kept while complexity grew: {explained:.2f} of its {linear:.2f} bits are "
            f"still in the network's answers, which carry {network:.2f}.",
            {"explained_information": explained, "simple_information": linear, "network_information": network},
            int(last["step"]),
            FIGURE,
        )
    ]
