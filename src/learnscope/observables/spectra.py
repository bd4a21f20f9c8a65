"""Spectra of the weights: singular values, stable rank, effective rank."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from learnscope.observables.observable import Need, State, Task, current_parameters, variable


def as_matrix(weight: Tensor) -> Tensor:
    """Return a weight as a matrix [out, everything else]; vectors become one row."""
    return weight.reshape(1, -1) if weight.ndim < 2 else weight.flatten(1)


def singular_values(matrix: Tensor) -> Tensor:
    """Return the singular values σ₁ ≥ σ₂ ≥ ... of a matrix, from its smaller Gram matrix in float64.

    Values below about 1e-8 σ₁ are rounding noise, which is far under the rounding of float32 weights.

    Args:
        matrix: [..., m, n], any real or complex dtype.

    Returns:
        [..., min(m, n)] float64; all NaN where the matrix is not finite, or its squares are not.

    Cost: O(m n min(m, n)) time, O(min(m, n)²) memory beyond a float64 copy.

    Examples:
        >>> singular_values(torch.diag(torch.tensor([1.0, 3.0, 2.0]))).round(decimals=6).tolist()
        [3.0, 2.0, 1.0]
    """
    matrix = matrix.detach().to(torch.promote_types(matrix.dtype, torch.float64))
    products = gram(matrix if matrix.shape[-2] >= matrix.shape[-1] else matrix.mT)
    finite = torch.isfinite(products).all(dim=-1).all(dim=-1)
    safe = torch.where(finite[..., None, None], products, 0)
    values = torch.linalg.eigvalsh(safe).clamp(min=0).sqrt().flip(-1)
    return torch.where(finite[..., None], values, torch.nan)


def gram(x: Tensor) -> Tensor:
    """Return xᴴx [..., d, d] of [..., n, d], float32, float64 or complex.

    Real ones on a CPU are made by NumPy, which computes half of the products, where torch computes all.

    Examples:
        >>> gram(torch.tensor([[1.0, 2.0], [0.0, 1.0]])).tolist()
        [[1.0, 2.0], [2.0, 5.0]]
    """
    if x.device.type != "cpu" or x.is_complex():
        return x.mH @ x
    values = x.detach().numpy()
    with np.errstate(all="ignore"):
        return torch.from_numpy(values.swapaxes(-2, -1) @ values)


def stable_rank(values: Tensor) -> Tensor:
    """Return the stable rank Σ σᵢ² / σ₁² of singular values [..., r]; NaN for a zero matrix.

    Source: Rudelson and Vershynin 2007.

    Examples:
        >>> float(stable_rank(torch.tensor([2.0, 1.0, 1.0])))
        1.5
    """
    return values.square().sum(-1) / values.square().amax(-1)


def effective_rank(values: Tensor) -> Tensor:
    """Return the effective rank exp(-Σ pᵢ log pᵢ), pᵢ = σᵢ / Σ σⱼ, of singular values [..., r].

    It is 1 for a rank-one matrix and r for r equal singular values; NaN for a zero matrix.
    Source: Roy and Vetterli 2007, definition 1.

    Examples:
        >>> float(effective_rank(torch.ones(5, dtype=torch.float64)))
        5.0
    """
    share = values / values.sum(-1, keepdim=True)
    return torch.special.entr(share).sum(-1).exp()


class WeightSpectra:
    """Spectral norm, stable rank, effective rank and singular values of every weight matrix.

    Convolution kernels are taken as matrices [out, in x height x width]; parameters with fewer than two
    dimensions have no spectrum and are left out.
    """

    name = "spectra"
    needs: frozenset[Need] = frozenset({"parameters"})

    def applies_to(self, task: Task | None) -> bool:
        """Return True: no labels are used."""
        return True

    def measure(self, state: State) -> xr.Dataset:
        """Measure every weight with two or more dimensions."""
        names = [name for name, value in current_parameters(state).items() if value.ndim >= 2 and value.numel()]
        spectra = [state.singular_values(name).cpu() for name in names]
        if not names:
            return xr.Dataset(coords={"weight": names})
        longest = max((len(s) for s in spectra), default=0)
        padded = torch.full((len(names), longest), torch.nan, dtype=torch.float64)
        for row, spectrum in zip(padded, spectra, strict=True):
            row[: len(spectrum)] = spectrum
        ranks = [(stable_rank(s), effective_rank(s)) for s in spectra]
        return xr.Dataset(
            {
                "spectral_norm": variable(padded[:, 0], ["weight"], long_name="largest singular value"),
                "stable_rank": variable(
                    [float(r[0]) for r in ranks],
                    ["weight"],
                    long_name="stable rank Σσ²/σ₁²",
                    source="Rudelson, Vershynin 2007",
                ),
                "effective_rank": variable(
                    [float(r[1]) for r in ranks],
                    ["weight"],
                    long_name="effective rank exp(H(σ/Σσ))",
                    source="Roy, Vetterli 2007, definition 1",
                ),
                "singular_value": variable(padded, ["weight", "rank"], long_name="singular value of the weight"),
            },
            coords={"weight": names},
        )
