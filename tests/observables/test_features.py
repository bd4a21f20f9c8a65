"""Features are centred and scaled without losing digits, and repeated rows are found exactly."""

import pytest
import torch

from learnscope.errors import InputError
from learnscope.observables.duplicates import first_of_each, groups_of_equal_rows
from learnscope.observables.features import all_finite, as_classes, as_matrix, centred, unit_scale
from learnscope.randomness import generator

random = generator("test features")


@pytest.mark.parametrize("constant", [0.1, 1e8 + 0.1, -3e-20])
@pytest.mark.parametrize("n", [3, 999, 10007])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_features_become_exactly_zero(constant, n, dtype):
    assert torch.equal(centred(torch.full((n, 2), constant, dtype=dtype)), torch.zeros(n, 2, dtype=dtype))


def test_one_example_far_away_costs_no_digits():
    h = torch.rand(1000, 3, generator=random)
    h[0] = 1e5
    exact = h.double() - h.double().mean(0)
    torch.testing.assert_close(centred(h).double(), exact, rtol=1e-6, atol=1e-5)


def test_a_sum_that_overflows_is_not_taken_for_infinity():
    assert all_finite(torch.full((100, 2), 1e38))
    assert not all_finite(torch.tensor([[1.0, torch.inf], [1.0, -torch.inf]]))


def test_zero_keeps_scale_one():
    x, scale = unit_scale(torch.zeros(2, 3))
    assert torch.equal(x, torch.zeros(2, 3))
    assert scale.item() == 1


def test_rows_are_grouped_as_torch_would_by_sorting():
    h = torch.randint(-1, 2, (300, 4), generator=random).float() * 0.1
    groups = groups_of_equal_rows(h)
    same = (h[:, None] == h).all(-1)
    assert torch.equal(groups[:, None] == groups, same)
    first = first_of_each(groups)
    assert torch.equal(first, first.sort().values)
    assert torch.equal(first, torch.tensor([int(row.nonzero()[0]) for row in same]).unique())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_negative_zero_equals_zero(dtype):
    assert groups_of_equal_rows(torch.tensor([[0.0], [-0.0]], dtype=dtype)).tolist() == [0, 0]


def test_says_in_a_sentence_what_cannot_be_used():
    with pytest.raises(InputError, match="at least 3 examples"):
        as_matrix(torch.rand(2, 2), least=3)
    with pytest.raises(InputError, match="2 of the 4 features"):
        as_matrix(torch.tensor([[torch.nan, 1.0], [torch.inf, 1.0]]))
    with pytest.raises(InputError, match=r"y\.long"):
        as_classes(torch.rand(3), 3)
