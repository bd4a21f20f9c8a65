"""Small problems that the tests of training share."""

import pytest
import torch

from learnscope.dynamics.margin_losses import MarginLoss
from learnscope.dynamics.shallow.problem import problems
from learnscope.networks.activations import Activation
from learnscope.networks.one_hidden_layer import one_hidden_layer


def stripe(n, dim, seed, dtype=torch.float64):
    """Points with label −1 inside of a slab of the first coordinate and +1 outside."""
    x = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    inside = (x[:, 0] > -0.3) & (x[:, 0] < 1.18549)
    return x.to(dtype), torch.where(inside, -1.0, 1.0).to(dtype)


def network(width, dim, seed=0, kind="relu", sharpness=2.0, dtype=torch.float64, **options):
    return one_hidden_layer(
        width,
        dim,
        torch.Generator().manual_seed(seed),
        activation=Activation(kind, sharpness, 1.3),
        dtype=dtype,
        **options,
    )


def problem(width=22, dim=3, n=13, kind="relu", loss="hinge", frozen=(), alpha=0.3, dtype=torch.float64):
    x, y = stripe(n, dim, 1, dtype)
    (made,) = problems([network(width, dim, kind=kind, dtype=dtype)], x, y, alpha, MarginLoss(loss), frozen)
    return made


def largest_difference(these, those):
    """The largest difference of the parameters of two networks, relative to their size."""
    return max(
        float((getattr(these, part) - getattr(those, part)).abs().max() / getattr(those, part).abs().max())
        for part in ("weights", "biases", "outputs")
    )


@pytest.fixture(params=["reference", "fused"])
def engine(request):
    return request.param
