"""The fully connected network is what its formula says."""

import pytest
import torch

from learnscope.networks import FullyConnected
from learnscope.randomness import generator


@pytest.mark.parametrize("widths", [(), (5,), (5, 7), (4, 4, 4)])
def test_equals_its_formula(widths):
    network = FullyConnected(6, widths, 3, generator=generator("weights")).double()
    x = torch.randn(11, 2, 3, dtype=torch.float64, generator=generator("x"))
    expected, state = x.reshape(11, 6), network.state_dict()
    for number in range(1, len(widths) + 1):
        expected = (expected @ state[f"fc{number}.weight"].T + state[f"fc{number}.bias"]).clamp(min=0)
    expected = expected @ state["output.weight"].T + state["output.bias"]
    torch.testing.assert_close(network(x), expected)


def test_names_tell_the_order():
    names = [name for name, _ in FullyConnected(6, (5, 4), 3, generator=generator()).named_children()]
    assert names == ["flatten", "fc1", "relu1", "fc2", "relu2", "output"]


def test_shapes_of_the_weights():
    shapes = [list(p.shape) for p in FullyConnected(6, (5, 4), 3, generator=generator()).parameters()]
    assert shapes == [[5, 6], [5], [4, 5], [4], [3, 4], [3]]
