import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import KernelPCA

from learnscope.errors import InputError
from learnscope.kernels import kernel_pca


@pytest.fixture
def x(generator):
    return torch.randn(12, 4, generator=generator, dtype=torch.float64)


def rbf(a, b):
    return torch.exp(-torch.cdist(a, b).square() / 8)


def test_centred_components_are_those_of_scikit_learn(x):
    train, test = x[:8], x[8:]
    theirs = KernelPCA(3, kernel="precomputed").fit(rbf(train, train).numpy())
    ours = kernel_pca(rbf(train, train), 3, centred=True)
    torch.testing.assert_close(ours.eigenvalues, torch.from_numpy(theirs.eigenvalues_))
    projected = torch.from_numpy(theirs.transform(rbf(test, train).numpy()))
    scaled = ours.project(rbf(test, train)) * (ours.eigenvalues / 8).sqrt()  # theirs have the variance λ / n
    torch.testing.assert_close(scaled.abs(), projected.abs())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 10), centred=st.booleans())
def test_components_are_orthogonal_eigenvectors_of_norm_n_whose_shares_sum_to_one(seed, n, centred):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    kernel = rbf(x, x)
    found = kernel_pca(kernel, n, centred=centred)
    phi = found.components
    torch.testing.assert_close(phi.T @ phi, n * torch.eye(n, dtype=torch.float64), atol=1e-9, rtol=0)
    h = torch.eye(n, dtype=torch.float64) - centred / n
    torch.testing.assert_close(h @ kernel @ h @ phi, phi * found.eigenvalues, atol=1e-9, rtol=0)
    y = torch.sign(torch.randn(n, generator=generator, dtype=torch.float64))
    assert float(((phi.T @ y) / n).square().sum()) == pytest.approx(1)
    assert float(found.trace) == pytest.approx(float(found.eigenvalues.sum()), abs=1e-9)


@pytest.mark.parametrize("centred", [False, True])
def test_old_examples_project_onto_themselves(x, centred):
    kernel = rbf(x, x)
    found = kernel_pca(kernel, 5, centred=centred)
    torch.testing.assert_close(found.project(kernel), found.components)
    torch.testing.assert_close(found.project(kernel[:0]), found.components[:0])


def test_components_beyond_the_rank_have_no_continuation(x):
    found = kernel_pca(x @ x.T, 6, centred=False)
    assert (found.eigenvalues[4:] == 0).all()
    projected = found.project(x @ x.T)
    torch.testing.assert_close(projected[:, :4], found.components[:, :4])
    assert projected[:, 4:].isnan().all()


@pytest.mark.parametrize("k", [0, 13])
def test_a_number_out_of_range_is_refused(x, k):
    with pytest.raises(InputError, match=f"k is {k}, but a kernel of 12 examples has 12 components"):
        kernel_pca(x @ x.T, k, centred=False)
