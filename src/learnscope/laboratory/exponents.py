"""Exponents of power laws, fitted on logarithmic axes."""

from __future__ import annotations

import numpy as np
import xarray as xr


def exponent(values: xr.DataArray, axis: str) -> xr.DataArray:
    """Return the least-squares slope of log values over the logarithm of an axis; other dimensions stay.

    Average over seeds first, and use it with ``pooled=True``, where single seeds may give zero.

    Examples:
        >>> squares = xr.DataArray([1.0, 16.0, 64.0], dims="n", coords={"n": [1, 4, 8]})
        >>> float(exponent(squares, "n"))
        2.0
    """
    places = np.log(values[axis].values.astype(float))
    centred = places - places.mean()
    slopes = np.moveaxis(np.log(values.values), values.get_axis_num(axis), -1) @ centred / (centred @ centred)
    return values.isel({axis: 0}, drop=True).copy(data=slopes)


def local_exponents(values: xr.DataArray, axis: str) -> xr.DataArray:
    """Return the slopes of log values between neighbouring places of an axis, at their geometric means.

    Examples:
        >>> bent = xr.DataArray([1.0, 4.0, 32.0], dims="n", coords={"n": [1, 4, 16]})
        >>> local_exponents(bent, "n").values.tolist(), local_exponents(bent, "n")["n"].values.tolist()
        ([1.0, 1.5], [2.0, 8.0])
    """
    places = np.log(values[axis].values.astype(float))
    steps = xr.DataArray(np.diff(places), dims=axis)
    rises = xr.ufuncs.log(values).drop_vars(axis).diff(axis)
    return (rises / steps).assign_coords({axis: np.exp((places[1:] + places[:-1]) / 2)})


def geometric_mean(values: xr.DataArray, dim: str) -> xr.DataArray:
    """Return exp of the mean logarithm along a dimension, NaN left out.

    Examples:
        >>> float(geometric_mean(xr.DataArray([1.0, 4.0, np.nan], dims="n"), "n"))
        2.0
    """
    return xr.ufuncs.exp(xr.ufuncs.log(values).mean(dim))
