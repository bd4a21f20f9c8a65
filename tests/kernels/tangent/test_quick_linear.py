"""Linear layers by the quickest library: values and gradients of inputs as torch has them."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from learnscope.kernels.tangent import quick_linear, reference, tangent_kernel
from learnscope.kernels.tangent.quick_linear import linear
from learnscope.threads import alone


@pytest.fixture
def products(monkeypatch):
    counted, product = [], quick_linear.product
    monkeypatch.setattr(quick_linear, "product", lambda *a, **k: (counted.append(a), product(*a, **k))[1])
    return counted


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("context", [alone, nullcontext], ids=["one thread", "all threads"])
def test_outputs_and_gradients_of_inputs_are_those_of_torch(bias, n, context, products):
    layer, x = nn.Linear(300, 40, bias=bias).double(), torch.randn(n, 300, dtype=torch.float64, requires_grad=True)
    truth = layer(x)
    weights = torch.randn_like(truth)
    with context():
        ours = linear(layer, x)
    assert len(products) == 1
    torch.testing.assert_close(ours, truth)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, truth)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("shape", [(2, 3, 4), (4,)])
def test_what_is_no_matrix_is_left_to_torch(shape, products):
    layer, x = nn.Linear(4, 3), torch.randn(shape)
    with alone():
        ours = linear(layer, x)
    assert torch.equal(ours, layer(x))
    assert not products


def test_weights_that_hang_on_something_are_left_to_torch(products):
    layer, made = nn.Linear(4, 3, bias=False), torch.randn(12, requires_grad=True)
    del layer.weight
    layer.weight = made.view(3, 4)
    with alone():
        linear(layer, torch.ones(2, 4)).sum().backward()
    assert not products
    assert torch.equal(made.grad, torch.full((12,), 2.0))


def test_wrong_inputs_are_refused_as_by_torch():
    layer = nn.Linear(4, 3)
    with alone(), pytest.raises(RuntimeError, match="dtype"):
        linear(layer, torch.ones(2, 4, dtype=torch.float64))


def test_kernels_are_made_with_them(products):
    model, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double(), torch.randn(5, 4).double()
    with alone():
        ours = tangent_kernel(model, x)
    assert products
    torch.testing.assert_close(ours, reference.tangent_kernel(model, x), rtol=1e-9, atol=1e-10)
