"""Both integrators of the flow come to the same networks, and experiments take the one that they are asked for."""

import numpy as np
import pytest
import torch

from learnscope import laboratory
from learnscope.distributions.interfaces import stripe
from learnscope.dynamics.shallow import Stop
from learnscope.dynamics.step_control import Limits
from learnscope.experiments import (
    attractors,
    attractors_on_images,
    cylinder,
    kernel_after_training,
    sphere,
    stripe_kernel,
    stripe_learning_curve,
)
from learnscope.experiments import stripe as stripe_experiment
from learnscope.experiments.shared.hinge_flow import fitted_share, follow, precision
from learnscope.networks.one_hidden_layer import one_hidden_layer

SMALL = {
    attractors: {"n_train": (8, 16), "widths": (16, 24), "drawn": 24},
    attractors_on_images: {"n_train": (40,), "n_test": 50, "width": 60},
    cylinder: {"n_train": (32, 64, 512, 1024), "n_test": 300, "width": 60, "longest": 64, "longest_lazy": 64},
    kernel_after_training: {"task": ("stripe",), "n_train": (32,), "n_test": 200, "n_probe": 60, "width": 60},
    sphere: {"n_train": (32,), "width": 60, "n_test": 200},
    stripe_kernel: {"n_train": (64,), "n_probe": 400, "n_test": 200, "width": 60},
    stripe_learning_curve: {"n_train": (32, 64, 512, 1024), "n_test": 300, "width": 60, "longest": 64}
    | {"longest_lazy": 64, "lazy_width": 60},
    stripe_experiment: {"n_train": (32, 256, 512), "repetitions": 1, "width": 20, "longest": 32}
    | {"width_to_the_end": 40},
}


def runs_of(seed):
    source = torch.Generator().manual_seed(seed)
    x, y = stripe(40, 3, source)
    start = one_hidden_layer(60, 3, source, activation="normalised_relu")
    options = {"alpha": 1e-3, "stop": Stop(), "limits": Limits(0.1, 1e-4)}
    return x, y, [follow([start], x, y, proximal=proximal, **options)[0] for proximal in (False, True)]


@pytest.mark.parametrize("seed", range(3))
def test_both_end_near_the_same_network_with_all_margins_reached(seed):
    _, y, (explicit, implicit) = runs_of(seed)
    ends = [torch.cat([n.weights.flatten(), n.biases, n.outputs]) for n in (explicit.network, implicit.network)]
    assert float((ends[1] - ends[0]).norm() / ends[0].norm()) < 0.1
    assert implicit.n_steps < explicit.n_steps / 5
    assert fitted_share(explicit, y) == fitted_share(implicit, y) == 1


def test_the_fitted_share_counts_examples_at_their_margin():
    _, y, (explicit, _) = runs_of(0)
    assert fitted_share(explicit, -y) == 0
    half = torch.where(torch.arange(len(y)) < len(y) // 2, y, -y)
    assert fitted_share(explicit, half) == 0.5


def test_single_precision_goes_with_steps_implicit_in_the_loss():
    assert (precision(True), precision(False)) == (torch.float32, torch.float64)


@pytest.mark.parametrize("module", SMALL, ids=lambda module: module.EXPERIMENT.name)
def test_every_experiment_runs_with_steps_implicit_in_the_loss(module, monkeypatch):
    taken = []
    original = follow

    def watched(*arguments, proximal, **options):
        taken.append(proximal)
        return original(*arguments, proximal=proximal, **options)

    monkeypatch.setattr(stripe_learning_curve if module is cylinder else module, "follow", watched)
    experiment = module.EXPERIMENT
    assert experiment.paper["proximal"] is True
    data = laboratory.simulate_all(experiment, experiment.settings(**SMALL[module], proximal=True), seeds=1)
    assert True in taken
    assert all(np.isfinite(each).any() for each in data.values() if each.dtype.kind == "f")
