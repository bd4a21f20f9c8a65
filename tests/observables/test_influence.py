"""Standard errors are those that a simulation shows."""

import pytest
import torch

from learnscope.observables.canonical_correlation import basis_cka, principal_basis
from learnscope.observables.influence import cka_error, class_variance_ratio_and_error, participation_ratio_and_error
from learnscope.observables.reference import representation as reference
from learnscope.observables.representation import class_variance_ratio, participation_ratio

REPEATS, N = 300, 400


def draws(dim, seed=0):
    scales = torch.linspace(1, 3, dim, dtype=torch.float64)
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(N, dim, generator=g, dtype=torch.float64) * scales for _ in range(REPEATS)]


def numbers(parts):
    return [float(part) for part in parts]


def spread(values):
    return float(torch.stack(list(values)).std())


def test_participation_ratio():
    samples = draws(6)
    _, error = participation_ratio_and_error(samples[0])
    assert float(error) == pytest.approx(spread(map(participation_ratio, samples)), rel=0.2)


def test_participation_ratio_with_more_features_than_examples_takes_the_other_road():
    h = torch.randn(8, 20, generator=torch.Generator().manual_seed(0)).double()
    padded = torch.cat([h, h, h])
    narrow = torch.linalg.svd(padded - padded.mean(0), full_matrices=False)
    rotated = narrow.U * narrow.S
    assert numbers(participation_ratio_and_error(padded)) == pytest.approx(
        numbers(participation_ratio_and_error(rotated[:, :8]))
    )


def test_class_variance_ratio():
    y = torch.randint(0, 4, (N,), generator=torch.Generator().manual_seed(1))
    centres = 2 * torch.randn(4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def sample(h, k):
        labels = y[torch.randint(0, N, (N,), generator=torch.Generator().manual_seed(10 + k))]
        return h + centres[labels], labels

    samples = [sample(h, k) for k, h in enumerate(draws(5))]
    _, error = class_variance_ratio_and_error(*samples[0])
    assert float(error) == pytest.approx(spread(class_variance_ratio(h, labels) for h, labels in samples), rel=0.2)


def test_cka():
    mixing = torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def bases(h):
        return principal_basis(h, variance=1.0), principal_basis((h @ mixing).relu(), variance=1.0)

    pairs = [bases(h) for h in draws(6)]
    assert float(cka_error(*pairs[0])) == pytest.approx(spread(basis_cka(*pair) for pair in pairs), rel=0.25)


def test_errors_of_what_is_undefined_are_nan():
    constant = torch.ones(10, 3)
    for part in (
        *participation_ratio_and_error(constant),
        *class_variance_ratio_and_error(constant, torch.arange(10) % 2),
        *class_variance_ratio_and_error(torch.arange(10.0)[:, None], torch.zeros(10, dtype=torch.int64)),
    ):
        assert bool(part.isnan())


@pytest.mark.parametrize("offset", [1e6, -1e6])
def test_huge_means_do_not_matter(offset):
    h, y = draws(4)[0], torch.arange(N) % 3
    assert numbers(participation_ratio_and_error(h + offset)) == pytest.approx(
        numbers(participation_ratio_and_error(h)), rel=1e-6
    )
    assert numbers(class_variance_ratio_and_error(h + offset, y)) == pytest.approx(
        numbers(class_variance_ratio_and_error(h, y)), rel=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "d"), [(40, 7), (7, 40)])
def test_the_ratios_are_those_of_their_definitions(n, d, dtype):
    h = torch.randn(n, d, generator=torch.Generator().manual_seed(0)).relu().to(dtype)
    y = torch.arange(n) % 3
    assert float(participation_ratio_and_error(h)[0]) == pytest.approx(
        float(reference.participation_ratio(h.double())), rel=1e-5
    )
    assert float(class_variance_ratio_and_error(h, y)[0]) == pytest.approx(
        float(reference.class_variance_ratio(h.double(), y)), rel=1e-10
    )


def test_errors_in_float32_are_those_in_float64():
    h = torch.randn(200, 30, generator=torch.Generator().manual_seed(0)).relu()
    single, double = participation_ratio_and_error(h), participation_ratio_and_error(h.double())
    assert numbers(single) == pytest.approx(numbers(double), rel=1e-5)
