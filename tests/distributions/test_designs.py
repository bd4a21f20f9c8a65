"""Designs have the moments that they promise, up to five standard errors."""

import pytest
import torch
from scipy import stats

from learnscope.distributions.designs import autoregressive_design, gaussian_design, shifted, student_design
from learnscope.errors import InputError
from learnscope.randomness import generator


def test_gaussian_entries_pass_a_test_of_their_law():
    x = gaussian_design(200, 100, generator("gaussian"))
    assert stats.kstest(x.flatten().numpy(), "norm").pvalue > 1e-4
    assert x.dtype == torch.float64


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.9])
def test_rows_of_the_autoregression_have_its_covariance_from_the_first_column_on(correlation):
    n, d = 40_000, 6
    x = autoregressive_design(n, d, correlation, generator("autoregression", correlation))
    lag = (torch.arange(d)[:, None] - torch.arange(d)).abs()
    expected = correlation ** lag.double()
    assert float((x.mT @ x / n - expected).abs().max()) < 5 * (2 / n) ** 0.5


@pytest.mark.parametrize("degrees_of_freedom", [1, 2, 7])
def test_students_entries_pass_a_test_of_their_law(degrees_of_freedom):
    x = student_design(150, 100, degrees_of_freedom, generator("student", degrees_of_freedom))
    assert stats.kstest(x.flatten().numpy(), "t", (degrees_of_freedom,)).pvalue > 1e-4


def test_a_shift_moves_every_entry_and_leaves_the_design_alone():
    x = gaussian_design(4, 3, generator("shift"))
    before = x.clone()
    moved = shifted(x, torch.tensor([0.0, 2.5]))
    torch.testing.assert_close(moved - x, torch.tensor([0.0, 2.5]).double()[:, None, None].expand(2, 4, 3))
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "draw",
    [
        lambda g, **options: gaussian_design(3, 2, g, **options),
        lambda g, **options: autoregressive_design(3, 2, 0.5, g, **options),
        lambda g, **options: student_design(3, 2, 3, g, **options),
    ],
)
def test_the_same_generator_draws_the_same_design_in_the_dtype_asked_for(draw):
    one, again = (draw(generator("same"), batch=(2, 5), dtype=torch.float32) for _ in range(2))
    assert one.shape == (2, 5, 3, 2)
    assert one.dtype == torch.float32
    assert torch.equal(one, again)


def test_says_in_a_sentence_what_cannot_be_drawn():
    with pytest.raises(InputError, match="n_train is 0"):
        gaussian_design(0, 3, generator())
    with pytest.raises(InputError, match="correlation is 1"):
        autoregressive_design(3, 3, 1.0, generator())
    with pytest.raises(InputError, match="degrees_of_freedom is 0"):
        student_design(3, 3, 0, generator())
