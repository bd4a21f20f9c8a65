"""Harmonics against SciPy's polynomials, closed forms and exact integrals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import eval_gegenbauer

from learnscope.distributions.harmonics import legendre, n_harmonics, zonal_harmonics
from learnscope.distributions.spherical import sphere_grid
from learnscope.errors import InputError

COSINES = torch.linspace(-1, 1, 41, dtype=torch.float64)


@pytest.mark.parametrize("dim", [3, 4, 10, 50])
def test_polynomials_are_those_of_gegenbauer_divided_by_their_value_at_one(dim):
    index = (dim - 2) / 2
    expected = [eval_gegenbauer(k, index, COSINES.numpy()) / eval_gegenbauer(k, index, 1.0) for k in range(20)]
    np.testing.assert_allclose(legendre(COSINES, dim, 19).numpy(), expected, atol=1e-12)


def test_on_the_circle_they_are_cosines_of_multiples():
    angle = torch.linspace(0, math.pi, 17, dtype=torch.float64)
    expected = torch.stack([(k * angle).cos() for k in range(9)])
    torch.testing.assert_close(legendre(angle.cos(), 2, 8), expected)


@given(st.floats(-1, 1), st.integers(2, 60), st.integers(0, 40))
def test_no_polynomial_exceeds_one(cosine, dim, degree):
    assert float(legendre(torch.tensor(cosine, dtype=torch.float64), dim, degree).abs().max()) <= 1 + 1e-9


def test_polynomials_keep_the_shape_and_the_dtype_of_the_cosines():
    assert legendre(torch.zeros(2, 3), 5, 0).shape == (1, 2, 3)
    assert legendre(torch.zeros(2, 3), 5, 4).dtype == torch.float32


@pytest.mark.parametrize(("dim", "expected"), [(2, [1, 2, 2, 2]), (3, [1, 3, 5, 7]), (4, [1, 4, 9, 16])])
def test_the_numbers_of_harmonics_are_known(dim, expected):
    assert [n_harmonics(k, dim) for k in range(4)] == expected


def test_zonal_harmonics_are_orthonormal_whatever_their_poles():
    grid = sphere_grid(12)
    poles = torch.nn.functional.normalize(
        torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )
    y = zonal_harmonics(grid.points, poles)
    torch.testing.assert_close(y.mT @ (grid.weights[:, None] * y), torch.eye(6, dtype=torch.float64))


def test_wrong_arguments_are_one_sentence():
    with pytest.raises(InputError, match="dimension is 1"):
        legendre(COSINES, 1, 3)
    with pytest.raises(InputError, match="degree is -1"):
        n_harmonics(-1, 3)
    with pytest.raises(InputError, match="do not fit"):
        zonal_harmonics(torch.zeros(4, 3), torch.zeros(2, 4))
