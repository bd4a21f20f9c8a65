import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learnscope.observables.reference import progress as reference
from learnscope.observables.units import dead_share, merged, unit_statistics


@given(st.integers(2, 6), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**31))
def test_dead_share_and_rms_equal_their_definitions(n, units, positions, seed):
    h = torch.randn(n, units, positions, generator=torch.Generator().manual_seed(seed)).relu()
    assert dead_share(h.flatten(1)) == pytest.approx(reference.dead_share(h.flatten(1).unsqueeze(-1).numpy()))
    assert unit_statistics(h).rms == pytest.approx(reference.rms(h.numpy()), rel=1e-5)


@given(st.integers(1, 7), st.integers(0, 2**31))
def test_chunks_merge_to_the_whole(cut, seed):
    h = torch.randn(8, 3, 2, generator=torch.Generator().manual_seed(seed)).tanh()
    whole = unit_statistics(h, (-1, 1))
    parts = merged([unit_statistics(part, (-1, 1)) for part in (h[:cut], h[cut:])])
    assert parts.rms == pytest.approx(whole.rms, rel=1e-6)
    assert (parts.saturated_share, parts.count, parts.units) == (whole.saturated_share, whole.count, whole.units)


def test_a_unit_that_is_constant_but_not_zero_is_dead_too():
    assert dead_share(torch.stack([torch.full((4,), 2.0), torch.arange(4.0)], dim=1)) == 0.5


def test_a_unit_with_nan_is_not_dead():
    assert dead_share(torch.tensor([[math.nan, 1.0], [math.nan, 1.0]])) == 0.5


def test_a_unit_is_saturated_when_nine_tenths_of_its_activations_lie_at_either_edge():
    nine_of_ten = torch.tensor([-0.99] * 5 + [0.95] * 4 + [0.0])
    eight_of_ten = torch.tensor([-0.99] * 4 + [0.95] * 4 + [0.0] * 2)
    h = torch.stack([nine_of_ten, eight_of_ten], dim=1).unsqueeze(-1)
    assert unit_statistics(h, (-1.0, 1.0)).saturated_share == 0.5
    assert math.isnan(unit_statistics(h).saturated_share)


def test_nan_and_infinity_are_counted_and_left_out():
    h = torch.tensor([[1.0, math.nan], [math.inf, 3.0]]).unsqueeze(-1)
    statistics = unit_statistics(h)
    assert statistics.nonfinite == 2
    assert statistics.rms == pytest.approx(np.sqrt((1 + 9) / 2))
    assert statistics.nonfinite_share == 0.5


def test_half_precision_does_not_overflow():
    assert unit_statistics(torch.full((100, 2, 10), 200.0, dtype=torch.float16)).rms == pytest.approx(200)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool])
def test_integers_do_not_wrap_around(dtype):
    h = torch.full((2, 3, 4), 100).to(dtype)
    assert unit_statistics(h).square_sum == pytest.approx(float(h.double().square().sum()))


@pytest.mark.parametrize(
    "laid_out",
    [lambda h: h, lambda h: h.mT.contiguous().mT, lambda h: h.repeat_interleave(2, 2)[..., ::2]],
    ids=["positions innermost", "channels innermost", "with gaps"],
)
def test_the_order_in_memory_does_not_matter(laid_out):
    h = torch.randn(64, 8, 256, generator=torch.Generator().manual_seed(0)).relu()
    statistics = unit_statistics(laid_out(h))
    assert statistics.rms == pytest.approx(reference.rms(h.numpy()), rel=1e-5)
    assert statistics.nonfinite == 0
