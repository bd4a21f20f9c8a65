"""How far to trust a number that was measured on several seeds."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from scipy import stats

from learnscope.estimate import Estimate
from learnscope.laboratory.claims import Measure

RESAMPLES = 2000
POOLED_RESAMPLES = 200
FEWEST_SEEDS = 3


def over_seeds(values: np.ndarray, seed: int) -> Estimate:
    """Estimate the mean over seeds with a 95 % interval.

    Real numbers: percentile bootstrap of the mean (Efron, Tibshirani 1993, section 13.3), a little narrow for few
    seeds. Booleans: the share that is true with Wilson's interval (1927), which is honest about 10 of 10. NaN is
    dropped and counted in the notes; infinities make the interval the range of the values.

    Args:
        values: [seeds].
        seed: of the resampling.
    """
    usable = values[~np.isnan(values.astype(np.float64))]
    notes = (f"{len(values) - len(usable)} of {len(values)} seeds gave no number",) if len(usable) < len(values) else ()
    n = len(usable)
    if not n:
        return _estimate(np.nan, np.nan, (np.nan, np.nan), 0, "mean over seeds", notes)
    if usable.dtype == bool:
        wilson = stats.binomtest(int(usable.sum()), n).proportion_ci(method="wilson")
        share = float(usable.mean())
        error = float(np.sqrt(share * (1 - share) / n))
        return _estimate(share, error, (wilson.low, wilson.high), n, "share of seeds, Wilson interval", notes)
    usable = usable.astype(np.float64)
    value = float(usable.mean())
    if not np.isfinite(usable).all():
        return _estimate(value, np.nan, (usable.min(), usable.max()), n, "mean over seeds, range", notes)
    random = np.random.default_rng(seed)
    means = usable[random.integers(0, n, (RESAMPLES, n))].mean(axis=1)
    error = float(usable.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    ends = np.quantile(means, [0.025, 0.975])
    return _estimate(value, error, (ends[0], ends[1]), n, "mean over seeds, percentile bootstrap", notes)


def pooled(measure: Measure, data: xr.Dataset, seed: int) -> Estimate:
    """Estimate a number that needs all seeds at once, by resampling seeds with replacement."""
    n = data.sizes["seed"]
    value = float(measure(data))
    random = np.random.default_rng(seed)
    again = np.array(
        [float(measure(data.isel(seed=random.integers(0, n, n)))) for _ in range(POOLED_RESAMPLES if n > 1 else 0)]
    )
    usable = again[np.isfinite(again)]
    notes = () if len(usable) == len(again) else (f"{len(again) - len(usable)} resamples gave no number",)
    ends = np.quantile(usable, [0.025, 0.975]) if len(usable) else (np.nan, np.nan)
    error = float(usable.std(ddof=1)) if len(usable) > 1 else np.nan
    return _estimate(value, error, (ends[0], ends[1]), n, "pooled over seeds, percentile bootstrap", notes)


def _estimate(
    value: float, error: float, ends: tuple[float, float], n: int, estimator: str, notes: tuple[str, ...]
) -> Estimate:
    return Estimate(
        value=torch.tensor(value, dtype=torch.float64),
        standard_error=torch.tensor(error, dtype=torch.float64),
        n=torch.tensor(n),
        converged=torch.tensor(n >= FEWEST_SEEDS and not np.isnan(value)),
        estimator=estimator,
        notes=notes,
        bounds=(torch.tensor(float(ends[0]), dtype=torch.float64), torch.tensor(float(ends[1]), dtype=torch.float64)),
    )
