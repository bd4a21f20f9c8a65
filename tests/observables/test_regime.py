"""Lazy or feature learning: the gap to the linearisation and the rule."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from learnscope.errors import InputError
from learnscope.kernels import linearize
from learnscope.observables.movement import relative_distance
from learnscope.observables.regime import joint_distance, linearisation_gap, regime
from learnscope.randomness import generator

random = generator("test regime")


def test_the_gap_is_zero_for_a_model_that_is_linear_in_its_parameters():
    x, start, now = (torch.randn(5, 3, generator=random) for _ in range(3))
    assert float(linearisation_gap(x @ now.T, x @ now.T, x @ start.T)) == 0


def test_the_gap_of_a_network_shrinks_with_its_step():
    """The gap is of second order in the step over first order: it falls in proportion to the step."""
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2)).double()
    x = torch.randn(20, 4, generator=random, dtype=torch.float64)
    initial = {name: p.detach().clone() for name, p in model.named_parameters()}
    direction = {name: torch.randn(p.shape, generator=random, dtype=torch.float64) for name, p in initial.items()}
    gaps = []
    for step in (1e-2, 1e-3):
        moved = {name: p + step * direction[name] for name, p in initial.items()}
        outputs, start = functional_call(model, moved, (x,)), model(x)
        linearised = functional_call(linearize(model), moved, (x,))
        gaps.append(float(linearisation_gap(outputs, linearised, start).detach()))
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.1)


def test_the_gap_is_unknown_where_nothing_has_changed():
    ones = torch.ones(2, 1)
    assert bool(linearisation_gap(ones, ones, ones).isnan())
    assert bool(linearisation_gap(ones, ones, ones + 1e-5).isnan())  # might be rounding
    assert float(linearisation_gap(ones, ones, ones + 1e-3)) == 0
    with pytest.raises(InputError, match=r"\[2, 1\].*\[3, 1\]"):
        linearisation_gap(torch.ones(2, 1), torch.ones(2, 1), torch.ones(3, 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.complex64])
def test_weights_together_move_as_one_vector(dtype):
    now, initial = ([torch.randn(shape, generator=random).to(dtype) for shape in ((3, 2), (4,))] for _ in range(2))
    expected = relative_distance(torch.cat([w.flatten() for w in now]), torch.cat([w.flatten() for w in initial]))
    assert float(joint_distance(zip(now, initial, strict=True))) == pytest.approx(float(expected))
    assert float(joint_distance([(torch.ones(2), torch.zeros(2))])) == torch.inf


LAZY, BETWEEN, FEATURE = 0.0, 0.5, 1.0


@pytest.mark.parametrize(
    ("change", "weights", "gap", "expected"),
    [
        (0.2, 0.2, 0.2, LAZY),
        (0.21, 0.1, 0.1, BETWEEN),
        (0.1, 0.21, 0.1, BETWEEN),
        (0.1, 0.1, 0.21, BETWEEN),
        (0.5, 0.01, 0.5, FEATURE),
        (0.3, 0.01, 0.5, FEATURE),
        (0.5, 0.9, 0.49, BETWEEN),
        (0.2, 0.9, 0.9, BETWEEN),
        (0.1, torch.nan, 0.1, LAZY),
        (0.1, torch.inf, 0.1, BETWEEN),
        (torch.nan, 0.1, 0.1, torch.nan),
        (0.1, 0.1, torch.nan, torch.nan),
        (0.1, 0.1, None, LAZY),
        (0.6, 0.0, None, FEATURE),
        (0.4, 0.0, None, BETWEEN),
    ],
)
def test_the_rule(change, weights, gap, expected):
    found = regime(*(None if v is None else torch.tensor(v, dtype=torch.float64) for v in (change, weights, gap)))
    assert float(found) == pytest.approx(expected, nan_ok=True)


def test_the_rule_on_several_layers_at_once():
    found = regime(torch.tensor([0.1, 0.9]).double(), torch.tensor([0.1, 0.1]).double())
    assert found.tolist() == [LAZY, FEATURE]
