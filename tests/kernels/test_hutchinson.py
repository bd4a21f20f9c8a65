import pytest
import torch

from learnscope.errors import InputError
from learnscope.kernels.hutchinson import frobenius_norm
from learnscope.kernels.lanczos import top_eigenpairs

RANK = torch.arange(1, 301, dtype=torch.float64)
SPECTRA = {
    "power law": 1 / RANK,
    "outlier": torch.cat([torch.tensor([100.0], dtype=torch.float64), 1 / RANK[1:]]),
    "five of each": (RANK[:60] ** -1.5).repeat_interleave(5),
    "flat": torch.ones(300, dtype=torch.float64),
}


def matrix(spectrum):
    generator = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(len(spectrum), len(spectrum), generator=generator, dtype=torch.float64))[0]
    return (q * spectrum) @ q.T


def estimates(spectrum, *, number=100, deflated=8):
    kernel = matrix(spectrum)

    def product(v):
        return kernel @ v

    for seed in range(number):
        generator = torch.Generator().manual_seed(seed)
        leading = top_eigenpairs(product, kernel[0], deflated, generator=generator, tolerance=1e-3, max_products=30)
        yield frobenius_norm(product, leading, generator=generator)


@pytest.mark.parametrize("name", SPECTRA)
def test_the_standard_error_is_honest_over_repeated_generators(name):
    found = list(estimates(SPECTRA[name]))
    values = torch.stack([each.value for each in found])
    errors = torch.stack([each.standard_error for each in found])
    truth = SPECTRA[name].norm()
    # 100 repeats leave 7 % in a standard deviation and 20 probes 16 % in each error; t with 19 degrees covers 93.5 %
    assert 0.75 < float(errors.square().mean().sqrt() / values.std()) < 1.33
    assert float(((values - truth).abs() <= 1.96 * errors).double().mean()) > 0.85
    assert float((values.mean() - truth).abs()) < 4 * float(values.std()) / 10
    assert all(bool(each.converged) == bool(each.standard_error <= 0.05 * each.value) for each in found)


def test_deflation_takes_away_the_error_that_the_outlier_makes(generator):
    truth, kernel = SPECTRA["outlier"].norm(), matrix(SPECTRA["outlier"])
    signs = 2.0 * torch.randint(0, 2, (300, 20 * 50), generator=generator).double() - 1
    plain = (kernel @ signs).square().sum(0).reshape(50, 20).mean(1).sqrt()
    ours = torch.stack([each.value for each in estimates(SPECTRA["outlier"], number=20)])
    assert float((plain / truth - 1).abs().median()) > 0.05
    assert float((ours / truth - 1).abs().max()) < 1e-4


def test_vectors_that_have_not_converged_leave_it_unbiased(generator):
    kernel = matrix(SPECTRA["power law"])
    leading = top_eigenpairs(lambda v: kernel @ v, kernel[0], 4, generator=generator, max_products=5)
    assert not leading.converged.any()
    found = frobenius_norm(lambda v: kernel @ v, leading, generator=generator, probes=2000)
    assert abs(float(found) - float(kernel.norm())) < 4 * float(found.standard_error)
    assert float(found.standard_error) < 0.01 * float(found)


def test_it_is_exact_where_the_vectors_span_everything(generator):
    kernel = matrix(SPECTRA["power law"][:6])
    leading = top_eigenpairs(lambda v: kernel @ v, kernel[0], 6, generator=generator)
    found = frobenius_norm(lambda v: kernel @ v, leading, generator=generator)
    assert float(found) == pytest.approx(float(kernel.norm()), rel=1e-12)
    assert float(found.standard_error) == 0


def test_nan_and_zero_operators_have_the_norms_that_they_have(generator):
    leading = top_eigenpairs(lambda v: 0 * v, torch.ones(5), 2, generator=generator)
    zero = frobenius_norm(lambda v: 0 * v, leading, generator=generator)
    assert float(zero) == 0
    assert bool(zero.converged)
    leading = top_eigenpairs(lambda v: v * torch.nan, torch.ones(5), 2, generator=generator)
    unknown = frobenius_norm(lambda v: v * torch.nan, leading, generator=generator)
    assert unknown.value.isnan()
    assert not bool(unknown.converged)


def test_a_single_probe_is_refused(generator):
    leading = top_eigenpairs(lambda v: v, torch.ones(5), 2, generator=generator)
    with pytest.raises(InputError, match="probes=1 leaves no standard error"):
        frobenius_norm(lambda v: v, leading, generator=generator, probes=1)
