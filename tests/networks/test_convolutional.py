"""The convolutional network is what its description says, for images of any size that its poolings allow."""

import pytest
import torch
from torch.nn import functional as F

from learnscope.errors import InputError
from learnscope.networks import Convolutional
from learnscope.randomness import generator


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (32, 32), (9, 5)])
def test_equals_its_description(size):
    network = Convolutional(3, 10, (4, 6), 7, size=size, generator=generator("weights")).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=generator("x"))
    state, expected = network.state_dict(), x
    for layer in ("conv1", "conv2"):
        convolved = F.conv2d(expected, state[f"{layer}.weight"], state[f"{layer}.bias"], padding=1)
        expected = F.max_pool2d(convolved.relu(), 2)
    expected = F.linear(expected.flatten(1), state["fc1.weight"], state["fc1.bias"]).relu()
    expected = F.linear(expected, state["output.weight"], state["output.bias"])
    torch.testing.assert_close(network(x), expected)


def test_names_tell_the_order():
    names = [name for name, _ in Convolutional(1, 10, size=(8, 8), generator=generator()).named_children()]
    assert " ".join(names) == "conv1 relu1 pool1 conv2 relu2 pool2 flatten fc1 fc1_relu output"


def test_as_many_convolutions_as_widths():
    network = Convolutional(1, 10, (4, 5, 6), size=(8, 8), generator=generator())
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert "conv3" in dict(network.named_children())


def test_images_must_not_vanish():
    with pytest.raises(InputError, match="Images of 8 × 7 pixels vanish after 3 poolings"):
        Convolutional(1, 10, (4, 5, 6), size=(8, 7), generator=generator())
