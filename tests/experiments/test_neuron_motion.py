"""The corrected equation of motion is exact, the slide's is not, and one training point has one place of rest."""

import pytest
import torch

from learnscope import laboratory
from learnscope.dynamics.gradient_flow import integrate
from learnscope.experiments.neuron_motion import EXPERIMENT, bracket, followed
from learnscope.observables.neurons import Neurons, kink_velocity, kinks


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, EXPERIMENT.settings(), seeds=6)


def test_the_claims_are_reproduced_and_every_control_fails(data):
    for verdict in laboratory.judge(EXPERIMENT, data):
        assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
        assert all(judged.control.fails for judged in verdict.criteria)


def test_the_slide_is_right_in_one_dimension_and_wrong_in_more(data):
    slide = data["velocity_error"].sel(formula="as on the slide")
    assert float(slide.sel(dim=1).max()) < 1e-9
    assert float(slide.sel(dim=[2, 3, 5, 10]).min()) > 0.5


def test_the_closed_form_solves_the_gradient_flow(generator):
    neurons = Neurons(*(torch.randn(*shape, generator=generator).double() for shape in ((40, 2), (40,), (40,))))
    x, phase = torch.tensor([0.7, -1.2], dtype=torch.float64), torch.linspace(0, 2, 5, dtype=torch.float64)
    k = float((x.square().sum() / 2 + 1).sqrt())

    def field(state):  # of (ω, b, β) with a loss that is linear
        weights, bias, output = state[..., :2], state[..., 2:3], state[..., 3:]
        u = (weights @ x)[..., None] / 2**0.5 + bias
        on = (u > 0).double()
        return torch.cat([on * output * x / 2**0.5, on * output, u.clamp(min=0)], -1)

    start = torch.cat([neurons.weights, neurons.biases[:, None], neurons.outputs[:, None]], 1)
    path = integrate(field, start, phase / k).states
    expected = kinks(path[..., :2], path[..., 2])
    z, fate = followed(neurons, x, phase)
    assert set(fate.tolist()) == {0, 1, 2}
    # a neuron that dies does so at a kink of the field, which the integrator meets to its tolerance
    torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-4)


def test_the_velocity_with_one_point_is_the_bracket():
    neurons = Neurons(torch.tensor([[1.0, 2.0]]), torch.tensor([-0.5]), torch.tensor([3.0]))
    x = torch.tensor([1.0, 1.0])
    z = kinks(neurons.weights, neurons.biases)
    torch.testing.assert_close(kink_velocity(neurons, x[None], torch.ones(1)), 3.0 / -0.5 * bracket(z, x))


def test_the_place_of_rest_is_where_the_bracket_vanishes():
    x = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    rest = -3 * x / x.square().sum()
    assert bracket(rest[None], x).norm() < 1e-14
    assert bracket(rest[None] / 3, x).norm() > 0.1
