"""The residual network is what its description says."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from learnscope.errors import InputError
from learnscope.networks import Residual
from learnscope.networks.residual import Block
from learnscope.randomness import generator


def normalised(x):
    """Batch normalisation with scale 1 and shift 0, by its definition."""
    mean = x.mean((0, 2, 3), keepdim=True)
    return (x - mean) / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize(("outputs", "stride"), [(3, 1), (6, 2), (5, 1), (3, 2)])
def test_a_block_equals_its_formula(outputs, stride):
    block = Block(3, outputs, stride, generator("block")).double()
    x = torch.randn(4, 3, 7, 6, dtype=torch.float64, generator=generator("x"))
    state = block.state_dict()
    inside = normalised(F.conv2d(x, state["conv1.weight"], stride=stride, padding=1)).relu()
    inside = normalised(F.conv2d(inside, state["conv2.weight"], padding=1))
    around = x
    if (outputs, stride) != (3, 1):
        around = normalised(F.conv2d(x, state["shortcut.conv.weight"], stride=stride))
    torch.testing.assert_close(block(x), (inside + around).relu())


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_stages_halve_the_image_and_double_the_channels(shape):
    network = Residual(shape[0], 10, width=4, blocks=(2, 1, 1), generator=generator()).eval()
    seen, x = {}, torch.zeros(2, *shape)
    for name, module in network.named_children():
        x = module(x)
        seen[name] = tuple(x.shape[1:])
    side = shape[1]
    assert [seen[f"stage{number}"] for number in (1, 2, 3)] == [
        (4, side, side),
        (8, side // 2, side // 2),
        (16, side // 4, side // 4),
    ]
    assert (seen["flatten"], seen["output"]) == ((16,), (10,))


def test_twenty_layers_of_the_authors():
    network = Residual(3, 10, 16, (3, 3, 3), generator=generator())
    layers = [m for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in n]
    assert len(layers) == 20
    # 0.27 million in their table 6, to which the two shortcuts with weights add 2,560 and their norms 192
    assert sum(p.numel() for p in network.parameters()) == 269_722 + 2_560 + 192


def test_every_relu_and_normalisation_is_a_module_of_its_own():
    network = Residual(1, 10, generator=generator())
    names = [name for name, module in network.named_modules() if isinstance(module, nn.ReLU)]
    assert names == ["relu1", *(f"stage{s}.block1.relu{r}" for s in (1, 2, 3) for r in (1, 2))]
    assert not any(module.bias is not None for module in network.modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize(("blocks", "told"), [((), "blocks is empty"), ((1, 0), "blocks is 0")])
def test_needs_blocks(blocks, told):
    with pytest.raises(InputError, match=told):
        Residual(1, 10, blocks=blocks, generator=generator())
