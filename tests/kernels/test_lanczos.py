import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.errors import InputError
from learnscope.kernels.lanczos import top_eigenpairs

RANK = torch.arange(1, 301, dtype=torch.float64)
SPECTRA = {
    "power law": 1 / RANK,
    "steep": RANK**-2.5,
    "outlier": torch.cat([torch.tensor([100.0], dtype=torch.float64), 1 / RANK[1:]]),
    "five of each": (RANK[:60] ** -1.5).repeat_interleave(5),
    "flat": torch.ones(300, dtype=torch.float64),
    "low rank": torch.cat([torch.tensor([3.0, 3.0, 1.0], dtype=torch.float64), torch.zeros(297, dtype=torch.float64)]),
    "zero": torch.zeros(300, dtype=torch.float64),
    "one": torch.ones(1, dtype=torch.float64),
}


def matrix(spectrum, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(len(spectrum), len(spectrum), generator=generator, dtype=torch.float64))[0]
    return (q * spectrum) @ q.T


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_largest_eigenvalues_are_found_with_their_multiplicity(name, dtype, generator):
    spectrum, k = SPECTRA[name], min(7, len(SPECTRA[name]))
    kernel = matrix(spectrum).to(dtype)
    found = top_eigenpairs(lambda v: kernel @ v, kernel[0], k, generator=generator)
    truth = spectrum.sort(descending=True).values[:k]
    tolerance = (1e-10 if dtype == torch.float64 else 1e-4) * float(truth[0])
    torch.testing.assert_close(found.values.double(), truth, rtol=0, atol=max(tolerance, 1e-300))
    assert found.converged.all()
    torch.testing.assert_close(found.vectors.T @ found.vectors, torch.eye(k, dtype=dtype), atol=1e-5, rtol=0)


def test_residuals_are_what_they_say(generator):
    kernel = matrix(SPECTRA["power law"])
    found = top_eigenpairs(lambda v: kernel @ v, kernel[0], 5, generator=generator, max_products=12)
    truth = (kernel @ found.vectors - found.vectors * found.values).norm(dim=0)
    torch.testing.assert_close(found.residuals, truth, atol=1e-12, rtol=1e-6)
    assert found.products == 12
    assert not found.converged[-1]


def test_no_eigenvalue_comes_back_as_a_ghost(generator):
    """Without reorthogonalisation an outlier returns once it has converged, long before 200 products."""
    spectrum = torch.cat([torch.tensor([1e4], dtype=torch.float64), torch.linspace(0.5, 1, 299, dtype=torch.float64)])
    kernel = matrix(spectrum)
    found = top_eigenpairs(lambda v: kernel @ v, kernel[0], 3, generator=generator, max_products=200)
    assert float(found.values[0]) == pytest.approx(1e4)
    assert float(found.values[1]) < 1.0001


def test_a_small_eigenvalue_beside_an_outlier_is_as_precise_as_it_says_in_single_precision(generator):
    spectrum = torch.cat([torch.tensor([500.0], dtype=torch.float64), 0.5 * RANK[:199] ** -1.0])
    kernel = matrix(spectrum).float()
    found = top_eigenpairs(lambda v: kernel @ v, kernel[0], 5, generator=generator)
    error = (found.values.double() - spectrum[:5]).abs()
    assert found.converged.all()
    assert (error <= found.residuals + 1e-6 * 500).all()
    assert (error[1:] / spectrum[1:5]).max() < 0.02


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 2.0001, 7.0]) | st.floats(0, 10), min_size=1, max_size=40),
    k=st.integers(1, 6),
    seed=st.integers(0, 100),
)
def test_small_operators_of_any_spectrum_are_solved(values, k, seed):
    spectrum = torch.tensor(values, dtype=torch.float64)
    k, kernel = min(k, len(values)), matrix(spectrum, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    found = top_eigenpairs(lambda v: kernel @ v, kernel[0], k, generator=generator)
    truth = spectrum.sort(descending=True).values[:k]
    torch.testing.assert_close(found.values, truth, rtol=0, atol=1e-8 * max(float(truth[0]), 1e-300))
    assert found.converged.all()


def test_pairs_are_not_called_converged_before_a_fresh_start_has_looked_for_others(generator):
    kernel = matrix(SPECTRA["five of each"])
    found = top_eigenpairs(lambda v: kernel @ v, kernel[0], 5, generator=generator, max_products=25)
    truth = SPECTRA["five of each"][:5]
    assert not found.converged[(found.values - truth).abs() > 1e-6].any()
    assert not found.converged.all()


def test_nan_is_passed_on_and_not_converged(generator):
    found = top_eigenpairs(lambda v: v * torch.nan, torch.ones(9), 2, generator=generator)
    assert found.values.isnan().all()
    assert not found.converged.any()


@pytest.mark.parametrize(
    ("k", "most", "message"), [(0, None, "ask for 1 to 4"), (5, None, "k is 5"), (3, 2, "allow 3")]
)
def test_wrong_numbers_are_one_sentence(k, most, message, generator):
    with pytest.raises(InputError, match=message):
        top_eigenpairs(lambda v: v, torch.ones(4), k, generator=generator, max_products=most)
