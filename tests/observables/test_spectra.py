import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learnscope.observables.reference import spectra as reference
from learnscope.observables.spectra import as_matrix, effective_rank, gram, singular_values, stable_rank


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
def test_spectrum_and_ranks_equal_their_definitions(rows, columns, seed):
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = singular_values(matrix)
    assert values.numpy() == pytest.approx(reference.singular_values(matrix.numpy()), abs=1e-7)
    assert float(stable_rank(values)) == pytest.approx(reference.stable_rank(matrix.numpy()), rel=1e-8)
    assert float(effective_rank(values)) == pytest.approx(reference.effective_rank(matrix.numpy()), rel=1e-5)


def test_a_batch_gives_the_same_as_one_at_a_time(generator):
    stack = torch.randn(3, 4, 6, generator=generator)
    assert torch.equal(singular_values(stack)[1], singular_values(stack[1]))


def test_rank_one_has_ranks_one():
    values = singular_values(torch.ones(5, 7))
    assert float(stable_rank(values)) == pytest.approx(1)
    assert float(effective_rank(values)) == pytest.approx(1, abs=1e-5)


def test_orthogonal_matrix_has_full_ranks(generator):
    q = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    values = singular_values(q)
    assert float(stable_rank(values)) == pytest.approx(6)
    assert float(effective_rank(values)) == pytest.approx(6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_floating_dtype_is_computed_in_float64(dtype):
    matrix = torch.tensor([[2.0, 0.0], [0.0, 0.5]], dtype=dtype)
    assert singular_values(matrix).tolist() == [2.0, 0.5]


def test_nan_weights_give_nan_and_leave_the_rest_of_the_batch_alone():
    stack = torch.stack([torch.eye(3), torch.full((3, 3), torch.nan)])
    values = singular_values(stack)
    assert values[0].tolist() == [1, 1, 1]
    assert values[1].isnan().all()


@pytest.mark.parametrize("entry", [1e200, torch.inf, torch.nan])
def test_a_matrix_whose_squares_are_not_finite_gives_nan(entry):
    assert singular_values(torch.tensor([[entry, 0.0], [0.0, 1.0]], dtype=torch.float64)).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128])
def test_the_gram_matrix_holds_the_products_of_all_pairs_of_columns(generator, dtype):
    stack = torch.randn(2, 6, 4, generator=generator, dtype=dtype)
    for x in (stack, stack.mT, stack[0, :, ::2]):
        products = gram(x)
        assert torch.allclose(products, torch.einsum("...ni,...nj->...ij", x.conj(), x), atol=1e-5)
        assert torch.equal(products, products.mH)


def test_zero_matrix_has_no_rank():
    assert bool(stable_rank(singular_values(torch.zeros(2, 2))).isnan())


def test_a_convolution_kernel_is_the_matrix_of_its_filters():
    kernel = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert as_matrix(kernel).shape == (2, 12)
    assert np.array_equal(as_matrix(kernel)[1].numpy(), kernel[1].flatten().numpy())
