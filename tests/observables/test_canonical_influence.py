"""Standard errors of SVCCA and PWCCA are those of small changes of the sample, and those that a simulation shows."""

import pytest
import torch

from learnscope.observables.canonical_correlation import Basis, padded, principal_basis, pwcca, svcca
from learnscope.observables.canonical_influence import pwcca_error, svcca_error

PAIRS = [(svcca, svcca_error), (pwcca, pwcca_error)]


def layers(n, d1, d2, noise, seed):
    """Two layers of normal activations, the second a mixture of the first and of noise that grows along its units."""
    g = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d1, d2, generator=torch.Generator().manual_seed(d1 * d2), dtype=torch.float64) / d1**0.5
    x = torch.randn(n, d1, generator=g, dtype=torch.float64)
    spread = torch.linspace(0.2, noise, d2, dtype=torch.float64)
    return x, x @ mixing + spread * torch.randn(n, d2, generator=g, dtype=torch.float64)


def whole(h):
    return principal_basis(h, variance=1.0)


def weighted(x, y, weights):
    """SVCCA and PWCCA by their definitions when examples count by weights that sum to 1; square and full rank."""
    x, y = x - weights @ x, y - weights @ y
    root_x, root_y = (torch.linalg.cholesky(h.T @ (weights[:, None] * h)) for h in (x, y))
    whitened = torch.linalg.solve(root_x, x.T @ (weights[:, None] * y)) @ torch.linalg.inv(root_y).T
    left, rho, _ = torch.linalg.svd(whitened, full_matrices=False)
    alpha = (left.T @ torch.linalg.solve(root_x, x.T) @ (weights[:, None] * x)).abs().sum(1)
    return torch.stack([rho.mean(), (alpha * rho).sum() / alpha.sum()])


@pytest.mark.parametrize(("d1", "d2"), [(3, 3), (2, 4), (4, 2)])
def test_the_influence_of_an_example_is_what_its_weight_changes(d1, d2):
    n, step = 1000, 1e-4
    x, y = layers(n, d1, d2, 1.5, seed=1)
    even = torch.full((n,), 1 / n, dtype=torch.float64)
    moved = (1 - step) * even + step * torch.eye(n, dtype=torch.float64)
    changes = torch.stack([weighted(x, y, weights) for weights in moved]).sub(weighted(x, y, even)) / step
    for (value, error), influence in zip(PAIRS, changes.T, strict=True):
        torch.testing.assert_close(value(whole(x), whole(y)), weighted(x, y, even)[PAIRS.index((value, error))])
        # 2 %: correlations that lie apart, but not infinitely so
        assert float(influence.std() / n**0.5) == pytest.approx(float(error(whole(x), whole(y))), rel=0.02)


@pytest.mark.parametrize(("value", "error"), PAIRS)
@pytest.mark.parametrize(("d1", "d2", "noise"), [(6, 6, 0.5), (10, 4, 1.0), (4, 10, 1.0), (30, 20, 2.0)])
def test_errors_are_the_scatter_over_repeated_probes(value, error, d1, d2, noise):
    """Within 0.7 to 1.4: first order in 1/n, and components as many as a tenth of the examples."""
    probes = [tuple(map(whole, layers(400, d1, d2, noise, seed))) for seed in range(200)]
    scatter = torch.stack([value(a, b) for a, b in probes]).std()
    estimated = torch.stack([error(a, b) for a, b in probes[:5]]).mean()
    assert 0.7 < float(estimated / scatter) < 1.4


@pytest.mark.parametrize("error", [svcca_error, pwcca_error])
def test_padding_and_stacking_change_nothing(error):
    pairs = [tuple(map(whole, layers(60, d, 5, 1.0, seed=d))) for d in (3, 5, 7)]
    alone = torch.stack([error(a, b) for a, b in pairs])
    wide = [(padded(a, 9, 12), padded(b, 8, 6)) for a, b in pairs]
    torch.testing.assert_close(torch.stack([error(a, b) for a, b in wide]), alone)
    stacked = Basis(*(torch.stack(parts) for parts in zip(*(_parts(a) for a, _ in wide), strict=True)))
    last = wide[-1][1]
    torch.testing.assert_close(error(stacked, last), torch.stack([error(a, last) for a, _ in wide]))
    torch.testing.assert_close(error(last, stacked), torch.stack([error(last, a) for a, _ in wide]))


def _parts(basis):
    return basis.vectors, basis.singular_values, basis.loadings, basis.explained


@pytest.mark.parametrize("error", [svcca_error, pwcca_error])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_layer_and_its_linear_image_are_alike_without_error(error, dtype):
    x, _ = layers(200, 6, 6, 1.0, seed=0)
    turn = torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert float(error(whole(x.to(dtype)), whole((x @ turn + 3).to(dtype)))) < 1e-5


@pytest.mark.parametrize("error", [svcca_error, pwcca_error])
def test_nothing_is_known_of_constant_activations(error):
    constant, other = whole(torch.ones(20, 3)), whole(torch.randn(20, 4, generator=torch.Generator().manual_seed(0)))
    assert bool(error(constant, other).isnan())
    assert bool(error(padded(other, 5, 6), padded(constant, 5, 6)).isnan())


@pytest.mark.parametrize("error", [svcca_error, pwcca_error])
def test_layers_that_share_some_directions_exactly_have_a_finite_error(error):
    x, y = layers(100, 5, 5, 1.0, seed=4)
    y[:, :2] = x[:, :2] * 3
    assert 0 < float(error(whole(x), whole(y))) < 0.2
    orthogonal = torch.linalg.qr(x - x.mean(0)).Q
    assert bool(torch.isfinite(error(whole(orthogonal[:, :2]), whole(orthogonal[:, 2:]))))
