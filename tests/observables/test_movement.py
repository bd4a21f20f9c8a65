import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learnscope.observables.movement import cosine, relative_distance
from learnscope.observables.reference import spectra as reference


@given(st.integers(1, 30), st.integers(0, 2**31))
def test_distance_and_cosine_equal_their_definitions(size, seed):
    a, b = torch.randn(2, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert float(relative_distance(a, b)) == pytest.approx(reference.relative_distance(a.numpy(), b.numpy()))
    assert float(cosine(a, b)) == pytest.approx(reference.cosine(a.numpy(), b.numpy()), abs=1e-12)


def test_small_moves_of_large_half_precision_weights_are_seen():
    start = torch.full((1000,), 100.0, dtype=torch.float16)
    moved = start.clone()
    moved[0] += 1
    assert float(relative_distance(moved, start)) == pytest.approx(1 / (100 * math.sqrt(1000)))


def test_a_weight_that_left_zero_is_infinitely_far_and_one_that_stayed_is_unknown():
    zero = torch.zeros(3)
    assert math.isinf(float(relative_distance(torch.ones(3), zero)))
    assert math.isnan(float(relative_distance(zero, zero)))
    assert math.isnan(float(cosine(zero, zero)))
