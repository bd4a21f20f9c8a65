"""Points of spheres have the law, and the grid the integrals, that they promise."""

import itertools
import math

import pytest
import torch
from scipy import stats

from learnscope.distributions.spherical import sphere_grid, uniform_on_sphere
from learnscope.errors import InputError
from learnscope.randomness import generator


def monomial_mean(powers):
    """Return the mean of x^a y^b z^c over the sphere, (a-1)!! (b-1)!! (c-1)!!/(a+b+c+1)!!, or zero for an odd power."""
    if any(power % 2 for power in powers):
        return 0.0
    return math.prod(double_factorial(power - 1) for power in powers) / double_factorial(sum(powers) + 1)


def double_factorial(n):
    return math.prod(range(n, 0, -2))


@pytest.mark.parametrize("degree", [0, 1, 2, 5, 8])
def test_the_grid_integrates_every_monomial_up_to_its_degree(degree):
    points, weights = sphere_grid(degree)
    assert float(weights.sum()) == pytest.approx(1)
    torch.testing.assert_close(points.square().sum(1), torch.ones(len(points), dtype=torch.float64))
    for powers in itertools.product(range(degree + 1), repeat=3):
        if sum(powers) <= degree:
            mean = weights @ (points ** torch.tensor(powers)).prod(1)
            assert float(mean) == pytest.approx(monomial_mean(powers), abs=1e-13)


def test_any_coordinate_of_three_is_uniform():
    x = uniform_on_sphere(4000, 3, generator("sphere"))
    assert all(stats.kstest(x[:, k].numpy(), "uniform", (-1, 2)).pvalue > 1e-4 for k in range(3))


def test_points_have_unit_length_in_any_dimension():
    for dim in (1, 2, 40):
        norms = torch.linalg.vector_norm(uniform_on_sphere(20, dim, generator("length"), dtype=torch.float32), dim=1)
        torch.testing.assert_close(norms, torch.ones(20))


def test_wrong_arguments_are_one_sentence():
    with pytest.raises(InputError, match="degree is -1"):
        sphere_grid(-1)
    with pytest.raises(InputError, match="dim is 0"):
        uniform_on_sphere(3, 0, generator("none"))
