"""CKA is what its definition says, at the cost of the features alone."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.errors import InputError
from learnscope.observables.reference import similarity as reference
from learnscope.observables.similarity import cka, cka_matrix
from learnscope.randomness import generator

random = generator("test similarity")


def features(n: int, d: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return (torch.randn(n, d, generator=random, dtype=torch.float64) @ torch.randn(d, d, generator=random).double()).to(
        dtype
    )


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize(("n", "d1", "d2"), [(4, 1, 1), (5, 9, 2), (20, 3, 7), (20, 30, 50), (20, 100, 5), (60, 8, 8)])
def test_equals_the_definition_by_gram_matrices(n, d1, d2, debiased):
    x = features(n, d1)
    y = features(n, d2) + x[:, :1]
    torch.testing.assert_close(cka(x, y, debiased=debiased), reference.cka(x, y, debiased=debiased).clamp(-1, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_other_precisions_agree_with_the_definition(dtype):
    x, y = (10 * features(50, 6)).to(dtype), (10 * features(50, 9)).to(dtype)
    torch.testing.assert_close(cka(x, y), reference.cka(x, y), rtol=1e-4, atol=1e-5)


@given(st.integers(4, 30), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_invariances(n, d1, d2, seed):
    draws = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(n, d, generator=draws, dtype=torch.float64) for d in (d1, d2))
    turn = torch.linalg.qr(torch.randn(d1, d1, generator=draws, dtype=torch.float64)).Q
    order = torch.randperm(n, generator=draws)
    same = partial(torch.testing.assert_close, rtol=1e-6, atol=1e-8)
    same(cka(x, y), cka(y, x))
    same(cka(x, y), cka(-3 * x @ turn + 5, y))
    same(cka(x, y), cka(x[order], y[order]))
    same(cka(x, x @ turn), torch.ones((), dtype=torch.float64))


def test_independent_features_read_zero_debiased_and_much_more_biased():
    x, y = (torch.randn(200, 32, 64, generator=random) for _ in range(2))
    values = cka(x, y)
    assert abs(float(values.mean())) < 4 * float(values.std()) / 200**0.5
    assert float(cka(x, y, debiased=False).mean()) > 0.5


def test_a_huge_offset_changes_nothing():
    x, y = features(100, 5, torch.float32).round(), features(100, 7, torch.float32)
    torch.testing.assert_close(cka(x + 2.0**14, y), cka(x, y), rtol=1e-5, atol=1e-6)


def test_extreme_scales_change_nothing():
    x, y = features(40, 5, torch.float32), features(40, 7, torch.float32)
    torch.testing.assert_close(cka(x * 1e-25, y * 1e25), cka(x, y), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_features_have_no_similarity(dtype, debiased):
    constant = torch.full((30, 4), 0.1, dtype=dtype)
    assert cka(constant, features(30, 3).to(dtype), debiased=debiased).isnan()
    assert cka(constant, constant, debiased=debiased).isnan()


def test_features_that_are_not_finite_spoil_only_their_own_batch():
    x, y = features(2 * 10, 30).view(2, 10, 30).clone(), features(10, 4)
    x[0, 3, 2] = torch.nan
    values = cka(x, y)
    assert values[0].isnan()
    torch.testing.assert_close(values[1], cka(x[1], y))


def test_batches_broadcast():
    x, y = features(60, 3).view(3, 1, 20, 3), features(40, 5).view(2, 20, 5)
    values = cka(x, y)
    assert values.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            torch.testing.assert_close(values[i, j], cka(x[i, 0], y[j]))


def test_all_pairs_at_once_equal_each_pair():
    layers = [features(25, d, dtype) for d, dtype in ((3, torch.float32), (40, torch.float64), (7, torch.float64))]
    layers += [torch.ones(25, 2), torch.cat([layers[0], layers[0]], dim=1)]
    matrix = cka_matrix(layers)
    for i, x in enumerate(layers):
        for j, y in enumerate(layers):
            torch.testing.assert_close(matrix[i, j], cka(x, y).double(), rtol=1e-5, atol=1e-6, equal_nan=True)
    assert torch.equal(matrix.isnan(), matrix.T.isnan())
    assert float(matrix[0, 4]) == pytest.approx(1.0)


def test_says_in_a_sentence_what_cannot_be_compared():
    with pytest.raises(InputError, match="at least 4 examples"):
        cka(torch.rand(3, 2), torch.rand(3, 2))
    with pytest.raises(InputError, match="the same ones"):
        cka(torch.rand(5, 2), torch.rand(6, 2))
    with pytest.raises(InputError, match="at least one layer"):
        cka_matrix([])
    with pytest.raises(InputError, match=r"flatten\(1\)"):
        cka_matrix([torch.rand(5, 2, 2)])
