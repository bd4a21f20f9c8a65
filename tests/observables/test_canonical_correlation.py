"""SVCCA, PWCCA and CKA from small bases equal their definitions on the whole activations."""

import pytest
import torch

from learnscope.errors import InputError
from learnscope.observables.canonical_correlation import (
    Basis,
    basis_cka,
    canonical_correlations,
    padded,
    principal_bases,
    principal_basis,
    pwcca,
    svcca,
)
from learnscope.observables.reference import canonical_correlation as reference
from learnscope.observables.reference import similarity
from learnscope.randomness import generator

random = generator("test canonical correlation")
MEASURES = [svcca, pwcca, basis_cka]


def activations(n: int, d: int, decay: float = 0.8, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Gaussian activations whose principal variances decay geometrically, some units shared by all layers."""
    shared = torch.randn(n, d, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    own = torch.randn(n, d, generator=random, dtype=torch.float64)
    scales = decay ** torch.arange(d, dtype=torch.float64)
    mix = torch.randn(d, d, generator=random, dtype=torch.float64)
    return (((shared + own) * scales) @ mix + 3).to(dtype)


SHAPES = [(40, 6, 9), (40, 9, 6), (60, 5, 5), (60, 30, 4), (60, 4, 30)]


@pytest.mark.parametrize(("n", "d1", "d2"), SHAPES)
def test_equal_the_definitions(n, d1, d2):
    x, y = activations(n, d1), activations(n, d2)
    a, b = principal_basis(x), principal_basis(y)
    torch.testing.assert_close(svcca(a, b), reference.svcca(x, y, 0.99))
    torch.testing.assert_close(pwcca(a, b), reference.pwcca(x, y, 0.99), rtol=1e-6, atol=1e-8)
    truncated_x, truncated_y = reference.truncated(x, 0.99), reference.truncated(y, 0.99)
    torch.testing.assert_close(basis_cka(a, b), similarity.cka(truncated_x, truncated_y))
    torch.testing.assert_close(
        canonical_correlations(a, b), reference.canonical_correlations(truncated_x, truncated_y), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_precisions_agree_with_the_definition(dtype):
    x, y = activations(50, 8, dtype=dtype), activations(50, 6, dtype=dtype)
    a, b = principal_basis(x), principal_basis(y)
    assert a.vectors.dtype == torch.float32
    torch.testing.assert_close(svcca(a, b), reference.svcca(x, y, 0.99), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pwcca(a, b), reference.pwcca(x, y, 0.99), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n", "d"), [(30, 8), (8, 30), (10, 10), (2, 3)])
@pytest.mark.parametrize("variance", [0.5, 0.99, 1.0])
def test_the_basis_is_the_truncated_singular_value_decomposition(n, d, variance):
    h = activations(n, d)
    basis = principal_basis(h, variance=variance)
    rank = len(basis.singular_values)
    U, S, V = torch.linalg.svd(h - h.mean(0), full_matrices=False)
    share = S.square().cumsum(0) / S.square().sum()
    torch.testing.assert_close(basis.singular_values, S[:rank], rtol=1e-6, atol=0)
    torch.testing.assert_close(basis.explained, share[rank - 1])
    assert share[rank - 1] >= variance * (1 - 1e-12)
    assert rank == 1 or share[rank - 2] < variance
    torch.testing.assert_close(basis.vectors @ basis.loadings, U[:, :rank] * S[:rank] @ V[:rank], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(basis.vectors.T @ basis.vectors, torch.eye(rank).double(), rtol=0, atol=1e-6)


def test_most_caps_the_rank_and_explained_tells():
    h = activations(40, 10)
    full, capped = principal_basis(h), principal_basis(h, most=2)
    assert capped.vectors.shape == (40, 2)
    assert float(capped.explained) < 0.99 <= float(full.explained)


def test_vectors_stay_orthonormal_in_float32_when_everything_is_kept():
    h = activations(200, 20, decay=0.5, dtype=torch.float32)
    basis = principal_basis(h, variance=1.0)
    gram = basis.vectors.T @ basis.vectors
    torch.testing.assert_close(gram, torch.eye(len(gram)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-25, 1e25, 1e36])
def test_squares_neither_overflow_nor_vanish(scale):
    h, other = activations(50, 6, dtype=torch.float32) / 100, principal_basis(activations(50, 5))
    plain, scaled = principal_basis(h), principal_basis(h * scale)
    torch.testing.assert_close(svcca(scaled, other), svcca(plain, other), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        scaled.singular_values.double() / scale, plain.singular_values.double(), rtol=1e-4, atol=0
    )


def test_dead_copied_and_offset_units_change_nothing():
    h, other = activations(50, 6), principal_basis(activations(50, 5))
    spoiled = torch.cat([h + 1e4, torch.zeros(50, 2), torch.full((50, 1), 0.1)], dim=1)
    torch.testing.assert_close(
        svcca(principal_basis(spoiled), other), svcca(principal_basis(h), other), rtol=1e-6, atol=0
    )
    copied = torch.cat([h, h], dim=1)
    assert len(principal_basis(copied, variance=1.0).singular_values) == 6
    torch.testing.assert_close(
        svcca(principal_basis(copied), other), svcca(principal_basis(h), other), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_constant_activations_have_no_similarity(measure):
    constant = principal_basis(torch.full((20, 3), 0.1))
    assert constant.vectors.shape == (20, 0)
    assert constant.explained.isnan()
    other = principal_basis(activations(20, 4, dtype=torch.float32))
    for a, b in ((constant, other), (other, constant), (padded(constant, 3, 5), padded(other, 4, 5))):
        assert measure(a, b).isnan()


@pytest.mark.parametrize("measure", MEASURES)
def test_a_layer_equals_itself_turned_scaled_and_shifted(measure):
    h = activations(50, 7)
    turn = torch.linalg.qr(torch.randn(7, 7, generator=random, dtype=torch.float64)).Q
    value = measure(principal_basis(h), principal_basis(-2 * h @ turn + 5))
    torch.testing.assert_close(value, torch.ones((), dtype=torch.float64))


def test_canonical_correlations_ignore_any_invertible_map():
    x, y = activations(50, 5), activations(50, 4)
    mixed = x @ torch.randn(5, 5, generator=random, dtype=torch.float64)
    bases = [principal_basis(h, variance=1.0) for h in (x, mixed, y)]
    torch.testing.assert_close(canonical_correlations(bases[0], bases[2]), canonical_correlations(bases[1], bases[2]))


def test_orthogonal_layers_read_zero():
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).repeat(3, 1)
    a, b = principal_basis(signs[:, :1]), principal_basis(signs[:, 1:])
    assert float(svcca(a, b)) == pytest.approx(0, abs=1e-6)
    assert float(pwcca(padded(a, 3, 4), padded(b, 3, 4))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("measure", [*MEASURES, canonical_correlations])
@pytest.mark.parametrize(("n", "d1", "d2"), SHAPES)
def test_zero_padding_changes_nothing(measure, n, d1, d2):
    a, b = principal_basis(activations(n, d1)), principal_basis(activations(n, d2))
    plain, wide = measure(a, b), measure(padded(a, 33, 40), padded(b, 35, 38))
    if measure is canonical_correlations:
        assert float(wide[len(plain) :].abs().max()) < 1e-7
        wide = wide[: len(plain)]
    torch.testing.assert_close(wide, plain, rtol=1e-8, atol=1e-8)


def test_pwcca_of_a_partly_orthogonal_layer_is_safe_to_pad():
    """Canonical correlations that vanish leave directions undetermined, but never the padding."""
    shared, first, second = torch.linalg.qr(
        torch.randn(40, 3, generator=random, dtype=torch.float64) - 0.0, mode="reduced"
    ).Q.T
    x, y = torch.stack([shared, 2 * first], dim=1), torch.stack([shared, 3 * second], dim=1)
    a, b = principal_basis(x, variance=1.0), principal_basis(y, variance=1.0)
    torch.testing.assert_close(pwcca(padded(a, 6, 6), padded(b, 6, 6)), pwcca(a, b), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_whole_history_at_once_equals_each_step(measure):
    history = [padded(principal_basis(activations(40, d)), 12, 12) for d in (5, 12, 8)]
    final = principal_basis(activations(40, 6))
    stacked = Basis(
        vectors=torch.stack([basis.vectors for basis in history]),
        singular_values=torch.stack([basis.singular_values for basis in history]),
        loadings=torch.stack([basis.loadings for basis in history]),
        explained=torch.stack([basis.explained for basis in history]),
    )
    for values, pairs in (
        (measure(stacked, final), [(basis, final) for basis in history]),
        (measure(final, stacked), [(final, basis) for basis in history]),
    ):
        torch.testing.assert_close(values, torch.stack([measure(a, b) for a, b in pairs]), rtol=1e-8, atol=1e-8)


def parts_of(basis):
    return [getattr(basis, name) for name in ("vectors", "singular_values", "loadings", "explained")]


@pytest.mark.usefixtures("_three_threads")
@pytest.mark.parametrize("n", [40, 3000])
def test_bases_found_side_by_side_are_those_found_one_by_one_to_the_last_digit(n):
    layers = [activations(n, d, dtype=torch.float32) for d in (5, 300, 12, 200, 300)]
    together = principal_bases(layers, variance=0.9, most=20)
    for basis, h in zip(together, layers, strict=True):
        alone = principal_basis(h, variance=0.9, most=20)
        assert all(torch.equal(a, b) for a, b in zip(parts_of(basis), parts_of(alone), strict=True))


@pytest.mark.usefixtures("_three_threads")
def test_bases_of_a_network_that_diverged_say_so():
    layers = [activations(2000, 300) for _ in range(3)]
    layers[1][7, 2] = torch.inf
    with pytest.raises(InputError, match="infinite"):
        principal_bases(layers)
    assert principal_bases([]) == []


@pytest.mark.usefixtures("_three_threads")
def test_bases_are_found_where_no_gradients_are_kept():
    layers = [activations(2000, 300).requires_grad_() for _ in range(3)]
    with torch.inference_mode():
        found = principal_bases([2 * h for h in layers])
    assert not any(part.requires_grad for basis in found + principal_bases(layers) for part in parts_of(basis))


def test_says_in_a_sentence_what_cannot_be_computed():
    h = activations(10, 4)
    for wrong, says in (
        ({"variance": 0.0}, "variance = 0"),
        ({"variance": 1.5}, "variance = 1.5"),
        ({"most": 0}, "most = 0"),
    ):
        with pytest.raises(InputError, match=says):
            principal_basis(h, **wrong)
    with pytest.raises(InputError, match="NaN"):
        principal_basis(h.index_fill(0, torch.tensor([1]), torch.nan))
    with pytest.raises(InputError, match="same examples"):
        svcca(principal_basis(h), principal_basis(h[:9]))
    with pytest.raises(InputError, match="at least 4"):
        basis_cka(principal_basis(h[:3]), principal_basis(h[:3]))
    with pytest.raises(InputError, match="does not fit"):
        padded(principal_basis(h), 4, 2)
