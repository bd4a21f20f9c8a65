"""Neurons of a hidden layer of ReLUs as points: how they move, which agree, and what may be merged."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.errors import InputError
from learnscope.observables import neurons as observed
from learnscope.observables.neurons import Neurons


def random_neurons(h, d, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Neurons(randn(h, d), randn(h), randn(h)), randn


def network(neurons, x):
    hidden = observed.preactivations(neurons.weights, neurons.biases, x).relu()
    return hidden @ neurons.outputs / len(neurons.outputs)


def test_a_neuron_bends_at_its_kink():
    neurons, _ = random_neurons(7, 3)
    z = observed.kinks(neurons.weights, neurons.biases)
    at_kink = observed.preactivations(neurons.weights, neurons.biases, z).diagonal()
    assert at_kink.abs().max() < 1e-12


def test_no_other_point_of_the_bend_is_nearer_to_the_origin():
    neurons, randn = random_neurons(5, 4, seed=1)
    z = observed.kinks(neurons.weights, neurons.biases)
    sideways = randn(5, 4)
    unit = neurons.weights / neurons.weights.norm(dim=1, keepdim=True)
    sideways = sideways - (sideways * unit).sum(1, keepdim=True) * unit
    assert ((z + sideways).norm(dim=1) > z.norm(dim=1)).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 5), st.integers(1, 12), st.integers(0, 10**6))
def test_the_velocity_of_kinks_is_the_derivative_along_the_flow(d, p, seed):
    neurons, randn = random_neurons(6, d, seed)
    x, pull = randn(p, d), randn(p)
    parameters = tuple(part.clone().requires_grad_() for part in neurons)
    gain = (network(Neurons(*parameters), x) * pull).mean() * len(neurons.outputs)
    flow = torch.autograd.grad(gain, parameters)
    expected = torch.autograd.functional.jvp(observed.kinks, (neurons.weights, neurons.biases), flow[:2])[1]
    torch.testing.assert_close(observed.kink_velocity(neurons, x, pull), expected, rtol=1e-9, atol=1e-9)


def test_activity_follows_from_the_kink_and_the_sign_of_the_bias():
    neurons, randn = random_neurons(20, 3, seed=2)
    x = randn(30, 3)
    direct = observed.preactivations(neurons.weights, neurons.biases, x) > 0
    z = observed.kinks(neurons.weights, neurons.biases)
    assert torch.equal(observed.active_by_kink(z, neurons.biases, x), direct)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 10**6))
def test_merging_attractors_changes_no_output_on_the_training_inputs(h, p, seed):
    neurons, randn = random_neurons(h, 2, seed)
    x = randn(p, 2)
    members = observed.attractors(neurons, x)
    if (members < 0).all():
        return
    smaller = observed.merged(neurons, members)
    assert len(smaller.outputs) == int(members.max()) + 1 <= h
    torch.testing.assert_close(network(smaller, x), network(neurons, x), rtol=1e-10, atol=1e-12)


def test_merging_by_the_sign_alone_changes_outputs():
    neurons, randn = random_neurons(50, 2, seed=3)
    x = randn(20, 2)
    smaller = observed.merged(neurons, (neurons.outputs > 0).long())
    assert (network(smaller, x) - network(neurons, x)).abs().max() > 0.1


def test_attractors_match_a_search_through_all_pairs():
    neurons, randn = random_neurons(30, 2, seed=4)
    x = randn(4, 2)
    members = observed.attractors(neurons, x)
    pattern = observed.preactivations(neurons.weights, neurons.biases, x).mT > 0
    sign = neurons.outputs > 0
    alive = pattern.any(1)
    for i in range(30):
        for j in range(30):
            same = bool(alive[i] and alive[j] and (pattern[i] == pattern[j]).all() and sign[i] == sign[j])
            assert (members[i] == members[j] and members[i] >= 0) == same
    assert observed.active_sets(neurons, x) == len({tuple(row) for row in pattern[alive].tolist()})


def test_a_layer_that_nothing_activates_has_no_attractor_and_cannot_be_merged():
    dead = Neurons(torch.tensor([[1.0]]), torch.tensor([-5.0]), torch.tensor([1.0]))
    members = observed.attractors(dead, torch.tensor([[1.0]]))
    assert members.tolist() == [-1]
    assert observed.active_sets(dead, torch.tensor([[1.0]])) == 0
    with pytest.raises(InputError, match="all 1 neurons are left out"):
        observed.merged(dead, members)


def test_even_directions_have_entropy_one_and_a_single_one_zero():
    angle = torch.arange(3600) * (2 * torch.pi / 3600)
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    assert float(observed.angular_entropy(ring, torch.ones(3600))) == pytest.approx(1, abs=1e-3)
    assert float(observed.angular_entropy(ring[:1], torch.ones(1))) == 0
    halves = torch.tensor([[1.0, 0.1], [-1.0, 0.1]])
    assert float(observed.angular_entropy(halves, torch.ones(2), bins=4)) == pytest.approx(0.5)


def test_points_far_away_or_nowhere_do_not_disturb():
    z = torch.tensor([[1.0, 0.0], [torch.inf, 0.0], [torch.nan, 1.0]])
    assert float(observed.angular_entropy(z, torch.ones(3))) == 0
    assert observed.clusters(z, 0.1) == 1
    assert observed.clusters(z[1:], 0.1) == 0


def test_angles_need_a_plane():
    with pytest.raises(InputError, match="3 coordinates"):
        observed.angular_entropy(torch.ones(2, 3), torch.ones(2))


def test_clusters_are_connected_by_short_distances():
    generator = torch.Generator().manual_seed(5)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    z = (centres[:, None] + 0.01 * torch.randn(3, 40, 2, generator=generator)).reshape(-1, 2)
    assert observed.clusters(z, 0.1) == 3
    assert observed.clusters(z, 1e-9) == 120
