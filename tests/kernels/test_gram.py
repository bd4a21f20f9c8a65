import pytest
import torch

from learnscope.errors import InputError
from learnscope.kernels.gram import as_cross, as_gram, spectrum


def test_rounding_is_taken_off_a_kernel():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    gram = x @ x.T
    noise = 1e-6 * torch.randn(5, 5, generator=torch.Generator().manual_seed(1))
    symmetric = as_gram(gram + noise)
    assert torch.equal(symmetric, symmetric.T)
    torch.testing.assert_close(symmetric, gram, atol=1e-5, rtol=0)


def test_eigenvalues_within_rounding_of_zero_are_zero():
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values, vectors = spectrum(as_gram(x @ x.T))
    assert (values[:4] == 0).all()
    torch.testing.assert_close((vectors * values) @ vectors.T, x @ x.T)
    assert not spectrum(torch.zeros(3, 3)).values.any()


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (torch.ones(2, 3), r"the shape \[2, 3\]"),
        (torch.ones(2, 2, 1, 1), r"the shape \[2, 2, 1, 1\]"),
        (torch.ones(0, 0), "with n > 0"),
        (torch.tensor([[1.0, torch.nan], [torch.inf, 1.0]]), "2 entries that are NaN or infinite"),
        (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "differ by 1: give that of one set"),
        (torch.ones(2, 2, dtype=torch.int64), "convert it to float32 or float64"),
        (torch.ones(2, 2, dtype=torch.bfloat16), "convert it to float32 or float64"),
    ],
)
def test_what_is_no_gram_matrix_is_refused_in_one_sentence(kernel, message):
    with pytest.raises(InputError, match=message):
        as_gram(kernel)


def test_negative_eigenvalues_are_refused():
    with pytest.raises(InputError, match="has the eigenvalue -1"):
        spectrum(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


def test_kernels_of_new_examples_need_a_column_for_each_old_one():
    with pytest.raises(InputError, match=r"give \[new ones, 3\]"):
        as_cross(torch.ones(3, 2), 3)
    with pytest.raises(InputError, match="1 entries that are NaN"):
        as_cross(torch.tensor([[1.0, torch.nan]]), 2)
    assert as_cross(torch.ones(0, 3), 3).shape == (0, 3)
