"""Networks in the parametrisation of the tangent kernel keep signals, and have the kernel that theory gives."""

import pytest
import torch

from learnscope.errors import InputError
from learnscope.kernels import infinite_width, tangent_kernel
from learnscope.networks.unit_weights import convolutional, fully_connected


def test_weights_are_standard_normal_and_scales_keep_the_size_of_signals(generator):
    network = fully_connected(200, (400, 400, 400), generator)
    x = torch.randn(100, 200, generator=generator)
    for name, layer in network.named_children():
        if name.startswith("fc") and name[2:].isdigit():
            assert float(layer.weight.detach().var()) == pytest.approx(1.0, abs=0.05)
    before_output = network[:-2](x).detach()
    assert float(before_output.square().mean() / x.square().mean()) == pytest.approx(1.0, rel=0.3)


def test_the_tangent_kernel_of_a_wide_network_is_that_of_infinite_width(generator):
    x = torch.randn(6, 10, generator=generator)
    kernel = tangent_kernel(fully_connected(10, (3000, 3000), generator), x, outputs=0)
    torch.testing.assert_close(kernel, infinite_width(x, depth=3).tangent, rtol=0.15, atol=0.3)


def test_a_convolution_over_one_pixel_is_a_fully_connected_layer(generator):
    # of the nine weights of a kernel only the middle one meets the pixel
    network = convolutional((3, 1, 1), (50,), (1,), generator, hidden=(20,))
    x = torch.randn(5, 3, 1, 1, generator=generator)
    hidden = torch.relu((2 / 27) ** 0.5 * x[:, :, 0, 0] @ network.conv1.weight[:, :, 1, 1].T)
    hidden = torch.relu((2 / 50) ** 0.5 * hidden @ network.fc1.weight.T)
    torch.testing.assert_close(network(x), (2 / 20) ** 0.5 * hidden @ network.output.weight.T)


@pytest.mark.parametrize(("side", "strides", "positions"), [(8, (1, 2, 2), 4), (7, (2, 2), 4), (5, (3,), 4)])
def test_strides_divide_the_image_rounding_up(side, strides, positions, generator):
    network = convolutional((1, side, side), (3,) * len(strides), strides, generator)
    assert network.output.in_features == 3 * positions
    assert network(torch.zeros(2, 1, side, side)).shape == (2, 1)


def test_without_hidden_layers_it_is_linear(generator):
    network = fully_connected(4, (), generator)
    assert torch.equal(network(2 * torch.ones(1, 4)), 2 * network(torch.ones(1, 4)))


def test_the_same_generator_gives_the_same_weights():
    first, second = (fully_connected(4, (3,), torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.fc1.weight, second.fc1.weight)


def test_what_makes_no_network_is_refused(generator):
    with pytest.raises(InputError, match="least_width is 0"):
        fully_connected(4, (3, 0), generator)
    with pytest.raises(InputError, match="2 widths and 1 strides"):
        convolutional((1, 8, 8), (3, 3), (1,), generator)
    with pytest.raises(InputError, match="least_stride is 0"):
        convolutional((1, 8, 8), (3,), (0,), generator)
