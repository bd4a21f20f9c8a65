"""What filters see, times gradients of what comes out: by a grouped convolution as by the definition."""

import pytest
import torch
from torch import nn

from learnscope.kernels.tangent import convolutions, tangent_kernel
from learnscope.kernels.tangent.contraction import formed
from learnscope.kernels.tangent.convolutions import Window
from learnscope.kernels.tangent.layers import build_factors

EVERYTHING = slice(None), slice(None)
CASES = {
    "plain": (nn.Conv2d(3, 4, 3), (3, 6, 7)),
    "padded": (nn.Conv2d(3, 4, 3, padding=(1, 2)), (3, 6, 7)),
    "strided, with a rest": (nn.Conv2d(3, 4, (3, 2), stride=(2, 3)), (3, 8, 9)),
    "dilated": (nn.Conv2d(3, 4, 3, dilation=(2, 1)), (3, 7, 6)),
    "grouped": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (4, 5, 5)),
    "depthwise": (nn.Conv2d(4, 8, 3, padding=1, groups=4), (4, 5, 5)),
    "reflected": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (3, 5, 5)),
    "same, of even size": (nn.Conv2d(3, 4, 4, padding="same"), (3, 5, 5)),
    "on a line": (nn.Conv1d(3, 4, 3, stride=2), (3, 9)),
    "in space": (nn.Conv3d(2, 3, 2, padding=1), (2, 3, 4, 3)),
}


def factors_of(module, shape, names=("weight", "bias"), n=5, k=3):
    generator, module = torch.Generator().manual_seed(0), module.double()
    x = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    gradients = torch.randn(n, k, *module(x).shape[1:], generator=generator, dtype=torch.float64)
    return build_factors(module, frozenset(names), x, gradients)


def by_definition(factors, groups, units):
    products = torch.einsum("nkgtb,ngta->ngkba", factors.gradients[:, :, groups], factors.dense_inputs(groups, units))
    return products.flatten(2, 3)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("names", [("weight", "bias"), ("weight",), ("bias",)])
def test_products_are_sums_over_positions(case, names):
    factors = factors_of(*CASES[case], names)
    found = factors.window.products(factors.inputs, factors.gradients, *EVERYTHING)
    torch.testing.assert_close(found, by_definition(factors, *EVERYTHING))


@pytest.mark.parametrize("groups", [slice(0, 1), slice(1, 2)])
@pytest.mark.parametrize("units", [slice(0, 1), slice(1, 9), slice(2, 3)])
def test_of_some_groups_and_channels_or_of_the_bias_alone(groups, units):
    factors = factors_of(*CASES["grouped"])
    found = factors.window.products(factors.inputs, factors.gradients, groups, units)
    torch.testing.assert_close(found, by_definition(factors, groups, units))


def test_a_few_examples_at_a_time_give_the_same(monkeypatch):
    factors = factors_of(*CASES["grouped"])
    whole = factors.window.products(factors.inputs, factors.gradients, *EVERYTHING)
    monkeypatch.setattr(convolutions, "PIECE", 2 * 2 * 9 * 2 * 9)
    pieces = factors.window.products(factors.inputs, factors.gradients, *EVERYTHING)
    torch.testing.assert_close(pieces, whole)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("case", CASES)
def test_jacobians_in_float32_are_those_in_float64(case, monkeypatch):
    monkeypatch.setattr(convolutions, "CHANNELS", 1)
    exact = factors_of(*CASES[case])
    rounded = exact._replace(inputs=exact.inputs.float(), gradients=exact.gradients.float())
    assert exact.window.is_quick(rounded.inputs)
    assert not exact.window.is_quick(exact.inputs)
    torch.testing.assert_close(formed(rounded).double(), formed(exact), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("module", [nn.Conv2d(16, 4, 1), nn.Conv2d(2, 4, 3)])
def test_single_taps_and_few_channels_are_multiplied(module):
    factors = factors_of(module, (module.in_channels, 4, 4))
    assert not factors.window.is_quick(factors.inputs.float())


def test_kernels_in_float32_are_made_so(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3), nn.Flatten(), nn.Linear(32, 2))
    x, seen, products = torch.randn(6, 3, 6, 6), [], Window.products
    monkeypatch.setattr(Window, "products", lambda *arguments: (seen.append(1), products(*arguments))[1])
    ours = tangent_kernel(model, x, method="jacobian")
    assert seen
    torch.testing.assert_close(ours.double(), tangent_kernel(model.double(), x.double()), rtol=1e-4, atol=1e-4)
