import math

import pytest
import torch

from learnscope.estimate import Estimate, sample_mean


def test_sample_mean_has_the_textbook_standard_error():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0])
    estimate = sample_mean(values)
    assert float(estimate) == 2.5
    assert float(estimate.standard_error) == pytest.approx(math.sqrt(5 / 3) / 2)
    assert int(estimate.n) == 4


def test_one_draw_has_no_standard_error():
    estimate = sample_mean(torch.tensor([3.0]))
    assert float(estimate) == 3.0
    assert math.isnan(float(estimate.standard_error))


def test_a_mean_of_nan_has_not_converged():
    assert not bool(sample_mean(torch.tensor([1.0, math.nan])).converged)


def test_interval_is_normal_unless_bounds_were_computed():
    one = torch.tensor(1.0)
    estimate = Estimate(one, one, one, one.bool(), "a test")
    assert [float(b) for b in estimate.interval()] == pytest.approx([-0.96, 2.96])
    bounded = Estimate(one, one, one, one.bool(), "a test", bounds=(one - 0.1, one + 0.3))
    assert [float(b) for b in bounded.interval()] == pytest.approx([0.9, 1.3])


def test_a_large_mean_does_not_cost_precision():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)).double() + 1e8
    assert float(sample_mean(values).standard_error) == pytest.approx(float(values.std()) / 1000**0.5)


def test_repr_says_when_not_to_trust_it():
    nan = torch.tensor(math.nan)
    assert "not converged" in repr(Estimate(nan, nan, torch.tensor(3), torch.tensor(False), "x"))
    assert "shape=(2,)" in repr(sample_mean(torch.zeros(2, 3)))
