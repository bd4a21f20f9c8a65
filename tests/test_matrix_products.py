"""Products of matrices: the same to rounding on every path, and what the caller permits stays as it was."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learnscope import matrix_products as products


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def _threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def matrix(rows: int, columns: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, dtype=dtype, generator=torch.Generator().manual_seed(seed)) + 3


SHAPES = [(1, 1, 1), (3, 5, 2), (40, 30, 300), (120, 900, 300), (200, 6000, 20)]


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("into", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_product_is_off_by_rounding_of_its_terms_at_most(shape, dtype, plus, into):
    m, n, d = shape
    # Every second row of more, so that no factor lies in one piece.
    a, b, c = matrix(2 * m, d, dtype)[::2], matrix(d, n, dtype, 1).mT, matrix(1, n, dtype, 2)[0]
    out = torch.full((m, 2 * n), torch.nan, dtype=dtype)[:, ::2] if into else None
    found = products.product(a, b, plus=c if plus else None, out=out)
    wide_a, wide_b, wide_c = a.double(), b.double(), c.double() if plus else torch.zeros(n).double()
    error = (found.double() - (wide_a @ wide_b.mT + wide_c)).abs()
    bound = (d + 1) * torch.finfo(dtype).eps / 2 * (wide_a.abs() @ wide_b.abs().mT + wide_c.abs())
    assert found.dtype == dtype
    assert (error <= bound + 1e-15 * bound.amax()).all()
    assert out is None or found is out


def test_products_of_that_size_come_from_onednn_where_it_is(monkeypatch):
    if not products._onednn_is_there():
        pytest.skip("torch was built without oneDNN")
    monkeypatch.setattr(products, "_onednn_is_wider", lambda: True)
    taken, by_onednn = [], products._by_onednn
    monkeypatch.setattr(products, "_by_onednn", lambda *factors: (taken.append(factors), by_onednn(*factors))[1])
    a, b = matrix(200, 20, torch.float32), matrix(6000, 20, torch.float32, 1)
    out = torch.empty(200, 6000)
    torch.testing.assert_close(products.product(a, b, out=out), products.product(a, b))
    assert [len(factors[1]) for factors in taken] == [1310] * 4 + [760, 6000]
    products.product(a[:1], b), products.product(a.double(), b.double())
    assert len(taken) == 6


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("rows", [6, 90])
def test_factors_may_lie_in_memory_as_they_like(dtype, rows):
    x = matrix(rows, 300, torch.float32).to(dtype)
    layouts = {
        "itself": x,
        "transposed": x.mT.contiguous().mT,
        "repeated rows": x[:1].expand(rows, -1),
        "repeated columns": x[:, :1].expand(-1, 300),
        "every other column": x.repeat_interleave(2, dim=1)[:, ::2],
        "one number": x[:1, :1].expand(rows, 300),
        "part of longer rows": torch.cat([x, x], dim=1)[:, :300],
        "part of longer columns": torch.cat([x, x]).mT.contiguous().mT[:rows],
    }
    for name, b in layouts.items():
        for a in (x, b):
            expected = a.double() @ b.double().mT
            rounding = 300 * torch.finfo(dtype).eps if dtype != torch.bfloat16 else 2e-2
            torch.testing.assert_close(products.product(a, b).double(), expected, rtol=rounding, atol=0.0, msg=name)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (384, 500), (100, 169)], ids=str)
def test_a_square_is_added_above_the_diagonal(shape, dtype):
    x, sums = matrix(*shape, dtype), matrix(shape[1], shape[1], dtype, 1)
    expected = sums.double() + x.double().mT @ x.double()
    products.add_square(sums, x, torch.empty(x.numel() + 1, dtype=dtype))
    torch.testing.assert_close(
        sums.double().triu(), expected.triu(), rtol=4 * shape[0] * torch.finfo(dtype).eps, atol=0
    )


@pytest.mark.usefixtures("_threads")
def test_sums_over_examples_are_made_in_float64():
    x, y = torch.full((5000, 2), 1 + 2.0**-12), torch.ones(5000, 3)
    torch.testing.assert_close(products.product_over_examples(x, y), x.double().mT @ y.double(), rtol=1e-7, atol=0.0)


@given(n=st.integers(1, 30), d=st.integers(1, 30))
def test_no_examples_or_features_are_lost(n, d):
    x = matrix(n, d, torch.float64)
    torch.testing.assert_close(products.product_over_examples(x, x), x.mT @ x)


@pytest.mark.usefixtures("_threads")
def test_autocast_takes_no_digits_and_stays_on():
    a, b = matrix(40, 300, torch.float32), matrix(400, 300, torch.float32, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = products.product(a, b)
        assert torch.is_autocast_enabled("cpu")
    torch.testing.assert_close(found.double(), a.double() @ b.double().mT, rtol=1e-5, atol=1e-4)
