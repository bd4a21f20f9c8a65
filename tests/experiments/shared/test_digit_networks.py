"""Networks on digits: their shape, what ends their training, and their kernel as a function of inputs."""

import pytest
import torch

from learnscope.distributions.even_or_odd import even_or_odd
from learnscope.distributions.images import digits
from learnscope.dynamics.shallow import Stop
from learnscope.experiments.shared.digit_networks import digit_network, learned_digits, module_kernel
from learnscope.laboratory import Point

POINT = Point({"channels": 4, "hidden": 6, "max_output_change": 0.5, "max_gradient_change": 0.1})


@pytest.fixture
def sample(generator):
    return even_or_odd(digits(), 12, 5, generator)


@pytest.fixture
def network(sample, generator):
    return digit_network(sample.x.shape[1:], POINT, generator)


def test_three_convolutions_and_a_hidden_layer_see_the_image(network, sample):
    weights = [tuple(parameter.shape) for parameter in network.parameters()]
    assert weights == [(4, 1, 3, 3), (4, 4, 3, 3), (4, 4, 3, 3), (6, 16), (1, 6)]
    assert network(sample.x).shape == (12, 1)


def test_a_training_ends_with_all_margins_or_where_it_is_told_to(network, sample):
    run = learned_digits(network, 1.0, sample.x, sample.y, POINT)
    assert run.alpha == 1.0 / POINT.channels**0.5
    assert float((run.outputs * sample.y).min()) > 1
    early = learned_digits(network, 1.0, sample.x, sample.y, POINT, stop=Stop(fraction=0.5))
    assert early.time < run.time
    assert float((early.outputs * sample.y).min()) < 1


def test_the_kernel_is_the_product_of_gradients(network, sample):
    def gradient(image):
        network.zero_grad()
        network(image[None]).sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in network.parameters()]).double()

    gradients = torch.stack([gradient(image) for image in sample.x])
    kernel = module_kernel(network)
    torch.testing.assert_close(kernel(sample.x, None), gradients @ gradients.T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        kernel(sample.x[:3], sample.x[5:]), gradients[:3] @ gradients[5:].T, rtol=1e-4, atol=1e-5
    )
    assert kernel(sample.x, None).dtype == torch.float64
