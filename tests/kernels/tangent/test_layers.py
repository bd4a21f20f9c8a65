import pytest
import torch
from torch import nn
from torch.nn.functional import unfold

from learnscope.kernels.tangent.layers import build_factors

BOTH = frozenset({"weight", "bias"})


@pytest.fixture
def factors(generator):
    module = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1, groups=2).double()
    x = torch.randn(5, 4, 7, 6, generator=generator, dtype=torch.float64)
    return build_factors(module, BOTH, x, torch.zeros(5, 3, *module(x).shape[1:], dtype=torch.float64))


def test_a_convolution_keeps_its_inputs_and_sees_patches_of_them(factors):
    patches = unfold(factors.inputs, (3, 2), stride=(2, 1), padding=1).unflatten(1, (2, 12)).transpose(2, 3)
    assert factors.inputs.shape == (5, 4, 7, 6)
    assert factors.sizes == (3, 2, patches.shape[2], 13, 3)
    assert torch.equal(factors.dense_inputs()[..., :-1], patches)
    assert torch.equal(factors.dense_inputs()[..., -1], torch.ones_like(patches[..., 0]))


def test_units_of_inputs_are_channels_and_the_bias(factors):
    assert factors.units == (3, 6)
    whole = factors.dense_inputs()
    parts = [factors.dense_inputs(slice(1, 2), slice(unit, unit + 1)) for unit in range(3)]
    assert [part.shape[-1] for part in parts] == [6, 6, 1]
    assert torch.equal(torch.cat(parts, -1), whole[:, 1:])
    assert torch.equal(factors.dense_inputs(slice(0, 1), slice(1, 9)), whole[:, :1, :, 6:])


@pytest.mark.parametrize(("names", "a"), [({"weight"}, 12), ({"bias"}, 1)])
def test_weights_or_the_bias_alone_are_seen_alone(names, a, factors):
    module = factors.window.module
    some = build_factors(module, frozenset(names), factors.inputs, torch.zeros(5, 3, *module(factors.inputs).shape[1:]))
    assert some.sizes[3] == some.dense_inputs().shape[-1] == a


def test_a_filter_as_large_as_the_image_sees_it_at_once(generator):
    module, x = nn.Conv1d(2, 3, 4).double(), torch.randn(5, 2, 4, generator=generator, dtype=torch.float64)
    found = build_factors(module, BOTH, x, torch.zeros(5, 2, 3, 1))
    assert found.window is None
    assert torch.equal(found.inputs[:, 0, 0, :-1], x.flatten(1))
