"""Layers are drawn from N(0, 2 / fan_in) with the generator that is given, and nothing else is touched."""

import pytest
import torch
from torch import nn

from learnscope.errors import InputError
from learnscope.networks.initialisation import convolution, linear
from learnscope.randomness import generator


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (linear(300, 400, generator("linear")), 300),
        (convolution(40, 100, generator("conv")), 40 * 9),
        (convolution(300, 400, generator("narrow"), kernel=1, stride=2, bias=False), 300),
    ],
    ids=["linear", "conv 3x3", "conv 1x1"],
)
def test_weights_have_the_variance_of_he(layer, fan_in):
    weights = layer.weight.detach().double().flatten()
    # five standard errors of the mean, of the variance and of the fourth moment of normal draws
    normal, slack = weights * (fan_in / 2) ** 0.5, 5 / len(weights) ** 0.5
    assert abs(normal.mean()) < slack
    assert abs(normal.var() - 1) < slack * 2**0.5
    assert abs(normal.pow(4).mean() - 3) < slack * 96**0.5


def test_a_layer_of_relus_keeps_the_mean_square():
    x = torch.randn(2000, 500, generator=generator("x"))
    after = linear(500, 600, generator("w"))(x).relu()
    assert after.square().mean().item() == pytest.approx(x.square().mean().item(), rel=0.05)


def test_biases_are_zero():
    assert not linear(3, 4, generator()).bias.any()
    layer = convolution(3, 4, generator())
    assert layer.bias is not None
    assert not layer.bias.any()


def test_equals_pytorchs_layer_with_the_same_weights():
    layer = convolution(2, 3, generator("same"), stride=2)
    theirs = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    theirs.load_state_dict(layer.state_dict())
    x = torch.randn(4, 2, 9, 6, generator=generator("images"))
    assert torch.equal(layer(x), theirs(x))


def test_the_default_dtype_is_respected():
    torch.set_default_dtype(torch.float64)
    try:
        assert linear(2, 3, generator()).weight.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (-1, 2)])
@pytest.mark.parametrize("layer", [linear, convolution])
def test_sizes_must_be_positive(layer, sizes):
    with pytest.raises(InputError, match=f"is {min(sizes)}, but a layer needs at least 1"):
        layer(*sizes, generator())
