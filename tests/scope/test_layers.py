import pytest
import torch

from learnscope.errors import InputError
from learnscope.scope.layers import Layer, as_features, as_units, checked_reduction


def layer(layout, batch_dim=0, folded=1, examples_outermost=True):
    return Layer("a", "a", 1, batch_dim, layout, 4, 1, None, folded, examples_outermost)


def test_outputs_become_examples_units_and_positions():
    x = torch.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    assert torch.equal(as_units(x, layer("channels")), x)
    assert torch.equal(as_units(x, layer("tokens")), x.transpose(1, 2))
    assert torch.equal(as_units(x, layer("tokens", batch_dim=1)), x.permute(1, 2, 0))
    assert torch.equal(as_units(x[0], layer("features")), x[0][..., None])


@pytest.mark.parametrize("layout", ["tokens", "channels"])
def test_folding_is_undone_in_either_order(layout):
    x = torch.randn(5, 3, 4, 2, generator=torch.Generator().manual_seed(0))  # examples, positions, ...
    expected = x.transpose(1, 2) if layout == "channels" else x.movedim(-1, 1)
    first = as_units(x.flatten(0, 1), layer(layout, folded=3))
    last = as_units(x.transpose(0, 1).flatten(0, 1), layer(layout, folded=3, examples_outermost=False))
    assert torch.equal(first, expected.flatten(2))
    assert torch.equal(last, first)


@pytest.mark.parametrize(("layout", "shape"), [("features", (5, 4)), ("tokens", (5, 3, 4)), ("channels", (5, 4, 3))])
def test_a_complex_unit_is_two_real_ones(layout, shape):
    z = torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    units = as_units(z, layer(layout))
    assert units.shape == (5, 8, 1 if layout == "features" else 3)
    whole = as_units(z.real, layer(layout))
    assert torch.equal(units[:, 0::2], whole)
    assert torch.equal(units[:, 1::2], as_units(z.imag, layer(layout)))


def test_features_are_means_over_positions_or_all_of_them():
    units = torch.arange(12.0).reshape(2, 3, 2)
    assert torch.equal(as_features(units, "mean"), units.mean(-1))
    assert torch.equal(as_features(units, "flatten"), units.flatten(1))


def test_another_reduction_is_refused():
    with pytest.raises(InputError, match="'mean' or 'flatten'"):
        checked_reduction("max")
