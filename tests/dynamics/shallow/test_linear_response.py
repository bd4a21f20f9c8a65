"""How outputs answer to motions of the parameters, against the closed form of the tangent kernel and autograd."""

import pytest
import torch

from learnscope.dynamics.shallow import linear_response
from learnscope.dynamics.shallow.linear_response import response
from learnscope.kernels.one_hidden_layer import tangent_kernels
from learnscope.networks.activations import KINDS

from .conftest import network, stripe


def unit(weights):
    return weights / weights.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frozen", [(), ("weights",), ("biases",), ("outputs",), ("weights", "outputs")])
def test_the_kernel_is_the_sum_of_the_shares_of_what_moves(kind, frozen):
    here, (x, _) = network(22, 3, kind=kind), stripe(9, 3, 1)
    shares = tangent_kernels(here, x)._asdict()
    expected = sum(share for part, share in shares.items() if part not in frozen)
    found = response(here, here, x, frozen, unit(here.weights)).kernel
    assert float((found - expected).abs().max()) < 1e-13


def test_frozen_directions_leave_the_motion_of_the_lengths():
    here, (x, _) = network(22, 3, kind="tanh"), stripe(9, 3, 1)
    directions, lengths = unit(here.weights), here.weights.norm(dim=1).requires_grad_()
    u = x / 3**0.5 @ (lengths[:, None] * directions).T + here.biases
    outputs = here.activation.value(u) @ here.outputs / here.width
    jacobian = torch.stack([torch.autograd.grad(each, lengths, retain_graph=True)[0] for each in outputs])
    shares = tangent_kernels(here, x)
    expected = here.width * jacobian @ jacobian.T + shares.biases + shares.outputs
    found = response(here, here, x, {"directions"}, directions).kernel
    assert float((found - expected).abs().max()) < 1e-13


def test_the_change_is_the_derivative_of_the_outputs_along_the_motion():
    here, there, (x, _) = network(22, 3, kind="tanh"), network(22, 3, seed=5, kind="tanh"), stripe(9, 3, 1)

    def outputs(time):
        weights, biases = here.weights + time * there.weights, here.biases + time * there.biases
        hidden = here.activation.value(x / 3**0.5 @ weights.T + biases)
        return hidden @ (here.outputs + time * there.outputs) / here.width

    expected = torch.autograd.functional.jacobian(outputs, torch.zeros((), dtype=torch.float64))
    found = response(here, there, x, (), here.weights).change
    assert float((found - expected).abs().max()) < 1e-13


def test_pieces_of_neurons_add_up_and_single_precision_is_raised(monkeypatch):
    here, (x, _) = network(22, 3), stripe(9, 3, 1)
    whole = response(here, here, x, (), here.weights)
    monkeypatch.setattr(linear_response, "CHUNK", 30)
    pieces = response(here, here, x, (), here.weights)
    assert float((whole.kernel - pieces.kernel).abs().max()) < 1e-13
    assert float((whole.change - pieces.change).abs().max()) < 1e-13
    single = network(22, 3, dtype=torch.float32)
    assert response(single, single, x.float(), (), single.weights).kernel.dtype == torch.float64
