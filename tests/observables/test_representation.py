"""Participation ratio and class variances equal their definitions."""

import pytest
import torch

from learnscope.errors import InputError
from learnscope.observables.reference import representation as reference
from learnscope.observables.representation import class_variance_ratio, participation_ratio
from learnscope.randomness import generator

random = generator("test representation")


@pytest.mark.parametrize(("n", "d"), [(30, 5), (5, 30), (2, 2), (10, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_participation_ratio_equals_its_definition(n, d, dtype):
    h = (torch.randn(n, d, generator=random) * torch.arange(1, d + 1)).to(dtype)
    torch.testing.assert_close(participation_ratio(h), reference.participation_ratio(h), rtol=1e-4, atol=0)


def test_participation_ratio_counts_equal_directions():
    signs = torch.cat([torch.eye(7), -torch.eye(7)])
    assert float(participation_ratio(signs)) == pytest.approx(7)
    assert float(participation_ratio(signs[:, :1] * torch.ones(5) + 1e6)) == pytest.approx(1, abs=1e-4)


def test_participation_ratio_of_batches_constants_and_non_finite_values():
    h = torch.randn(3, 20, 4, generator=random)
    h[1] = 0.1
    h[2, 0, 0] = torch.inf
    values = participation_ratio(h)
    torch.testing.assert_close(values[0], participation_ratio(h[0]))
    assert values[1:].isnan().all()


def test_participation_ratio_neither_overflows_nor_vanishes():
    h = torch.randn(20, 4, generator=random)
    torch.testing.assert_close(participation_ratio(h * 1e25), participation_ratio(h), rtol=1e-4, atol=0)
    torch.testing.assert_close(participation_ratio(h * 1e-25), participation_ratio(h), rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_class_variance_ratio_equals_its_definition(dtype):
    h, y = torch.randn(40, 6, generator=random).to(dtype), torch.randint(0, 4, (40,), generator=random)
    torch.testing.assert_close(class_variance_ratio(h, 10 * y - 7), reference.class_variance_ratio(h, y))


def test_class_variance_ratio_of_batches_and_huge_offsets():
    h, y = torch.randn(2, 30, 4, generator=random).double(), torch.randint(0, 3, (30,), generator=random)
    values = class_variance_ratio(h + 1e6, y)
    torch.testing.assert_close(values, torch.stack([class_variance_ratio(each, y) for each in h]), rtol=1e-6, atol=0)


def test_class_variance_ratio_at_its_extremes():
    y = torch.tensor([0, 0, 1, 1])
    assert class_variance_ratio(torch.rand(4, 3), torch.zeros(4, dtype=torch.int64)).isnan()
    assert class_variance_ratio(torch.full((4, 3), 0.1), y).isnan()
    assert float(class_variance_ratio(torch.tensor([[1.0], [1.0], [2.0], [2.0]]), y)) == 0
    assert class_variance_ratio(torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]), y).isinf()
    assert class_variance_ratio(torch.rand(2, 4, 3), torch.zeros(4, dtype=torch.int64)).shape == (2,)


def test_says_in_a_sentence_what_cannot_be_computed():
    with pytest.raises(InputError, match="integers"):
        class_variance_ratio(torch.rand(4, 2), torch.rand(4))
    with pytest.raises(InputError, match="for 4 examples"):
        class_variance_ratio(torch.rand(4, 2), torch.zeros(5, dtype=torch.int64))
    with pytest.raises(InputError, match="examples, features"):
        participation_ratio(torch.rand(4))
