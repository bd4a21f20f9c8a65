import numpy as np
import pytest
import xarray as xr

STEPS = np.array([0, 1, 3, 10, 32, 100, 316, 1000])


@pytest.fixture
def steps():
    return STEPS


@pytest.fixture
def make():
    """Build a record's data from arrays over (step, ...)."""

    def build(layers=None, attrs=None, **variables):
        coords = {"step": STEPS}
        data = {}
        for name, value in variables.items():
            dims, values = value if isinstance(value, tuple) else (("step",), value)
            data[name] = (dims, np.asarray(values, dtype=float))
        if layers:
            coords["layer"] = layers
        return xr.Dataset(data, coords=coords, attrs=attrs or {})

    return build
