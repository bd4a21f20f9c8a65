"""Networks by name: they train, are the same for the same generator, and leave global randomness alone."""

import copy

import pytest
import torch
from torch import nn

from learnscope.distributions.images import digits
from learnscope.errors import InputError
from learnscope.networks import build
from learnscope.networks.catalogue import NAMES
from learnscope.randomness import generator

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]

every_network = pytest.mark.parametrize("name", NAMES)


@every_network
@pytest.mark.parametrize("shape", SHAPES)
def test_gives_one_logit_per_class(name, shape):
    logits = build(name, shape, 7, generator("net"))(torch.rand(3, *shape, generator=generator("x")))
    assert logits.shape == (3, 7)
    assert logits.isfinite().all()


@every_network
def test_global_randomness_is_neither_used_nor_changed(name):
    built = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        built.append(build(name, (1, 8, 8), 10, generator("net")).state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(built[0][key], built[1][key]) for key in built[0])


@every_network
def test_another_generator_gives_other_weights(name):
    one, other = (build(name, (1, 8, 8), 10, generator("net", seed)).state_dict() for seed in (1, 2))
    assert not any(torch.equal(one[key], other[key]) for key in one if key.endswith("weight") and "norm" not in key)


@every_network
def test_starts_and_stays_usable(name):
    network = build(name, (1, 8, 8), 10, generator("net"))
    twin = copy.deepcopy(network)
    twin.load_state_dict(network.state_dict())
    x = torch.rand(3, 1, 8, 8, generator=generator("x"))
    assert torch.equal(network.eval()(x), twin.eval()(x))
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), network(x))


@every_network
def test_every_leaf_is_used_once_and_has_a_telling_name(name):
    network = build(name, (1, 8, 8), 10, generator("net"))
    calls = []
    leaves = [(leaf, module) for leaf, module in network.named_modules() if not list(module.children())]
    for leaf, module in leaves:
        module.register_forward_hook(lambda *_, leaf=leaf: calls.append(leaf))
    network(torch.zeros(2, 1, 8, 8))
    assert sorted(calls) == sorted(leaf for leaf, _ in leaves)
    assert not any(part.isdigit() for leaf in calls for part in leaf.split("."))


@every_network
def test_learns_the_digits(name):
    data, network = digits(), build(name, (1, 8, 8), 10, generator("net"))
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for epoch in range(6):
        for batch in torch.randperm(1200, generator=generator("epoch", epoch)).split(50):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(data.x_train[batch]), data.y_train[batch]).backward()
            optimiser.step()
    network.eval()
    assert (network(data.x_test).argmax(1) == data.y_test).float().mean() > 0.93


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="called 'resnt'; the nearest names are 'resnet'"):
        build("resnt", (1, 8, 8), 10, generator())
