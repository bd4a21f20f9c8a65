"""The two claims on simplicity of Nakkiran et al. 2019 (arXiv:1905.11604), with their negative controls.

Inputs x ~ N(0, I₂₀), labels y = 1[x₁ + 1.5 x₂ x₃ > 0]; a ReLU network 20-256-1 trained by SGD on 4,000 examples; the
linear model is logistic regression on the same examples; information is estimated on 20,000 fresh ones. Bands were
fixed before these runs: 0.85 leaves room for the 5 to 8 % that the paper also sees; ± 15 % for the part that is kept.
"""

import numpy as np
import pytest
import torch
from torch import nn

from learnscope.observables.information import explained_information
from learnscope.observables.simple_models import fit_and_predict, linear_classifier
from learnscope.randomness import generator

SEEDS = 10
STEPS = 5000
LOOKS = sorted({0, STEPS, *(round(10 ** (k / 8)) for k in range(30))})


def labels(x, linear=1.0):
    return (linear * x[:, 0] + 1.5 * x[:, 1] * x[:, 2] > 0).long()


def trajectory(seed, linear=1.0):
    """Return I(F;Y), μ and I(F;Y|L) against the linear model and against label noise as accurate, by step."""
    g = generator("simplicity claims", seed, linear)
    x, test = torch.randn(4000, 20, generator=g), torch.randn(20_000, 20, generator=g)
    y, test_y = labels(x, linear), labels(test, linear)
    simple = fit_and_predict("linear", linear_classifier(), (x, y), test).classes
    wrong = torch.rand(len(test), generator=g) < (simple != test_y).double().mean()
    noise = torch.where(wrong, 1 - test_y, test_y)
    hidden, out = nn.Linear(20, 256), nn.Linear(256, 1)
    with torch.no_grad():
        for layer in (hidden, out):
            bound = layer.in_features**-0.5
            layer.weight.copy_((2 * torch.rand(layer.weight.shape, generator=g) - 1) * bound)
            layer.bias.copy_((2 * torch.rand(layer.bias.shape, generator=g) - 1) * bound)
    model = nn.Sequential(hidden, nn.ReLU(), out)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    rows = []
    for step in range(STEPS + 1):
        if step in LOOKS:
            with torch.no_grad():
                predicted = (model(test)[:, 0] > 0).long()
            against = explained_information(predicted, simple, test_y)
            control = explained_information(predicted, noise, test_y)
            values = (against.network, against.explained, against.simple, control.explained)
            rows.append([step, *(float(v) for v in values)])
        batch = torch.randint(0, len(x), (32,), generator=g)
        loss = nn.functional.binary_cross_entropy_with_logits(model(x[batch])[:, 0], y[batch].float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return np.array(rows)


@pytest.fixture(scope="module")
def runs():
    return [trajectory(seed) for seed in range(SEEDS)]


@pytest.mark.slow
def test_early_performance_is_explained_by_a_linear_classifier(runs):
    shares, controls, ends = [], [], []
    for _, network, explained, simple, control in (run.T for run in runs):
        first = int(np.argmax(network > 0.9 * simple))
        shares.append(explained[first] / network[first])
        controls.append(control[first] / network[first])
        ends.append(1 - explained[-1] / network[-1])
    print(f"explained {np.mean(shares):.3f} ± {np.std(shares):.3f}; control {np.mean(controls):.3f}")
    assert np.mean(shares) >= 0.85
    assert np.mean(controls) <= 0.5  # a model as accurate, but independent of x, does not explain the network
    assert np.mean(ends) >= 0.5


@pytest.mark.slow
def test_the_linear_part_is_retained_while_more_is_learned(runs):
    deviations, growth = [], []
    for _, network, explained, simple, _ in (run.T for run in runs):
        saturated = int(np.argmax(explained >= 0.95 * simple))
        assert explained[saturated] >= 0.95 * simple[saturated]
        deviations.append(np.abs(explained[saturated:] / simple[saturated:] - 1).max())
        growth.append(network[-1] / simple[-1])
    print(f"largest deviation {np.mean(deviations):.3f}; growth {np.mean(growth):.2f}")
    assert np.mean(deviations) <= 0.15
    assert np.mean(growth) >= 2


@pytest.mark.slow
def test_a_task_without_a_linear_part_is_never_explained_by_one():
    run = trajectory(0, linear=0.0)
    assert run[-1, 1] > 0.2
    assert run[:, 2].max() <= 0.02
