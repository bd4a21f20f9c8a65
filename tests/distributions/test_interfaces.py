import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from learnscope.distributions.interfaces import (
    cylinder,
    distance_to_cylinder,
    distance_to_sphere,
    distance_to_stripe,
    sphere,
    stripe,
)
from learnscope.errors import InputError
from learnscope.randomness import generator as named

DRAWS = {"stripe": stripe, "sphere": sphere, "cylinder": cylinder}
DISTANCES = {"stripe": distance_to_stripe, "sphere": distance_to_sphere, "cylinder": distance_to_cylinder}


def test_the_stripe_has_half_of_the_weight():
    assert stats.norm.cdf(1.18549) - stats.norm.cdf(-0.3) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("dim", [2, 3, 10, 100])
def test_the_sphere_has_half_of_the_weight_to_five_thousandths(dim):
    radius = -float(distance_to_sphere(torch.zeros(dim, dtype=torch.float64)))
    assert stats.chi2.cdf(radius**2, dim) == pytest.approx(0.5, abs=0.005)


def test_the_cylinder_has_exactly_half_of_the_weight():
    radius = -float(distance_to_cylinder(torch.zeros(5, dtype=torch.float64)))
    assert stats.chi2.cdf(radius**2, 2) == pytest.approx(0.5, abs=1e-14)


@pytest.mark.parametrize("name", DRAWS)
@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 50), dim=st.integers(2, 12), seed=st.integers(0, 1000), double=st.booleans())
def test_labels_are_exactly_one_and_minus_one_on_the_two_sides(name, n, dim, seed, double):
    dtype = torch.float64 if double else torch.float32
    x, y = DRAWS[name](n, dim, torch.Generator().manual_seed(seed), dtype)
    assert x.shape == (n, dim)
    assert x.dtype == y.dtype == dtype
    assert set(y.tolist()) <= {1.0, -1.0}
    assert torch.equal(y == 1, DISTANCES[name](x) > 0)


@pytest.mark.parametrize("name", DRAWS)
def test_inputs_are_standard_normal_and_classes_balanced(name):
    x, y = DRAWS[name](40_000, 3, named("interfaces", name))
    assert float(y.mean()) == pytest.approx(0, abs=0.025)
    torch.testing.assert_close(x.T.cov(), torch.eye(3).double(), atol=0.03, rtol=0)
    assert float(x.mean(0).abs().max()) < 0.03


@pytest.mark.parametrize("name", DRAWS)
def test_the_distance_is_that_to_the_nearest_point_of_the_other_class(name, generator):
    x, y = DRAWS[name](20, 2, generator)
    grid = torch.cartesian_prod(*[torch.linspace(-5, 5, 401, dtype=torch.float64)] * 2)
    side = torch.where(DISTANCES[name](grid) > 0, 1.0, -1.0)
    for point, label in zip(x, y, strict=True):
        nearest = (grid[side != label] - point).norm(dim=1).min()
        assert float(nearest) == pytest.approx(abs(float(DISTANCES[name](point))), abs=0.03)


def test_only_the_directions_that_tell_matter(generator):
    x = torch.randn(30, 6, generator=generator)
    changed = torch.cat([x[:, :2], torch.randn(30, 4, generator=generator)], 1)
    assert torch.equal(distance_to_stripe(x), distance_to_stripe(changed))
    assert torch.equal(distance_to_cylinder(x), distance_to_cylinder(changed))


def test_a_sample_hangs_on_its_generator_alone():
    first, again = stripe(5, 3, named("a")), stripe(5, 3, named("a"))
    assert torch.equal(first.x, again.x)
    assert not torch.equal(first.x, stripe(5, 3, named("b")).x)


@pytest.mark.parametrize(("draw", "least"), [(stripe, 1), (sphere, 1), (cylinder, 2)])
def test_says_in_a_sentence_what_is_too_small(draw, least):
    with pytest.raises(InputError, match="n is 0, but a sample has at least 1"):
        draw(0, 3, named("wrong"))
    with pytest.raises(InputError, match=f"dim is {least - 1}, but this interface needs at least {least}"):
        draw(3, least - 1, named("wrong"))


def test_radii_are_those_of_the_formulas():
    assert float(distance_to_sphere(torch.zeros(2))) == pytest.approx(-math.sqrt(2 * (8 / 9) ** 3))
