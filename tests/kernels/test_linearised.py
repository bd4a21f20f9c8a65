import copy
import math

import pytest
import torch
from torch import nn

from learnscope.errors import InputError
from learnscope.kernels import (
    linearize,
    tangent_kernel,
)
from learnscope.kernels.tangent import reference


def mlp(outputs=1, *, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, outputs)).double()


def moved(model, *, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(scale * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return model


@pytest.fixture
def data(generator):
    draw = torch.randn(13, 3, generator=generator, dtype=torch.float64)
    return draw[:8], draw[8:], torch.randn(8, 2, generator=generator, dtype=torch.float64)


def test_it_equals_the_model_at_the_start(case):
    model, x = case
    linearised = linearize(model)
    torch.testing.assert_close(linearised(x.clone()), model(x.clone()))
    names = [(name, p.shape) for name, p in model.named_parameters()]
    assert [(name, p.shape) for name, p in linearised.named_parameters()] == names


def test_its_kernel_is_the_models_wherever_its_parameters_go(case):
    model, x = case
    linearised = moved(linearize(model))
    truth = reference.tangent_kernel(model, x.clone())
    torch.testing.assert_close(reference.tangent_kernel(linearised, x.clone()), truth, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(tangent_kernel(linearised, x.clone()), truth, rtol=1e-9, atol=1e-10)


def test_it_departs_from_the_model_to_second_order(data):
    x, _, _ = data
    gaps = []
    for scale in (1e-3, 1e-4):
        model = mlp()
        linearised = moved(linearize(model), scale=scale)
        gaps.append(float((linearised(x) - moved(model, scale=scale)(x)).detach().norm()))
    assert math.log10(gaps[0] / gaps[1]) == pytest.approx(2, abs=0.05)


def test_the_model_is_left_alone(data):
    model = mlp()
    before = copy.deepcopy(model.state_dict())
    linearised = moved(linearize(model))
    linearised(data[0]).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is not None for p in linearised.parameters())
    moved(model)
    torch.testing.assert_close(linearize(model)(data[0]), model(data[0]))
    assert float((linearised(data[0]) - model(data[0])).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["WithoutForwardMode", "DifferentiableOnce"])
def test_operations_without_forward_mode_are_linearised_too(name, custom, data):
    model = custom(name)
    linearised = moved(linearize(model))
    truth = reference.tangent_kernel(model, data[0])
    for _ in range(2):  # the way that was found at the first call is kept
        torch.testing.assert_close(reference.tangent_kernel(linearised, data[0]), truth)
        torch.testing.assert_close(tangent_kernel(linearised, data[0]), truth)


def test_it_survives_saving_loading_copying_and_conversion(data):
    x, linearised = data[0], moved(linearize(mlp()))
    other = linearize(mlp(seed=1))
    other.load_state_dict(linearised.state_dict())
    torch.testing.assert_close(other(x), linearised(x))
    torch.testing.assert_close(copy.deepcopy(linearised)(x), linearised(x))
    single = copy.deepcopy(linearised).float()
    torch.testing.assert_close(single(x.float()).double(), linearised(x), rtol=1e-5, atol=1e-5)


def test_frozen_parameters_stay_frozen(data):
    model = mlp()
    model[0].weight.requires_grad_(False)
    linearised = linearize(model)
    assert [name for name, p in linearised.named_parameters() if p.requires_grad] == ["0.bias", "2.weight", "2.bias"]
    truth = reference.tangent_kernel(model, data[0])
    torch.testing.assert_close(reference.tangent_kernel(linearised, data[0]), truth)


def test_modules_that_couple_examples_have_to_be_in_eval_mode(data):
    linearised = linearize(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double())
    with pytest.raises(InputError, match=r"module '1' .* call model.eval\(\) first"):
        linearised(data[0])
    assert linearised.eval()(data[0]).shape == (8, 1)


def test_wrong_inputs_raise_what_the_model_raises():
    linearised = linearize(mlp())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        linearised(torch.ones(2, 4, dtype=torch.float64))
    assert linearised(torch.ones(2, 3, dtype=torch.float64)).shape == (2, 1)

    with pytest.raises(InputError, match="the model returned a tuple"):
        linearize(nn.GRU(3, 2))(torch.ones(2, 3))
