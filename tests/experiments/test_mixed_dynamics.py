import math

import pytest
import torch

from learnscope import laboratory
from learnscope.dynamics.self_consistent import lazy_velocity, self_consistent_velocity
from learnscope.dynamics.two_layer_linear import ReducedNetwork, direct_step, random_factors, reduced
from learnscope.errors import InputError
from learnscope.experiments.mixed_dynamics import EXPERIMENT, allowance, paths
from learnscope.randomness import generator as named

SMALL = EXPERIMENT.at_scale("quick", {"dim": 24, "rank": 2, "gamma_width": (1.0, 2.0, 2.5, 3.0), "steps": 140})


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, SMALL, range(5))


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert verdict.claim.name == "mixed-ode"
    bad = [judged.criterion.name for judged in verdict.criteria if judged.verdict != "reproduced"]
    assert bad == []
    assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_paths_are_those_of_the_weights_and_of_eulers_steps():
    factors = [random_factors(5, 5, width, 0.5 / width, named("paths", width)) for width in (6, 40)]
    networks = ReducedNetwork(*(torch.stack(parts) for parts in zip(*map(reduced, factors), strict=True)))
    target = torch.randn(5, 5, generator=named("target"), dtype=torch.float64)
    *_, (products, _, equations) = paths(networks, target, 0.5, 0.05, 20)
    mixed = lazy = balanced = networks.product[1]
    for _ in range(20):
        factors = [direct_step(f, f.second @ f.first - target, 0.05) for f in factors]
        mixed = mixed + 0.05 * self_consistent_velocity(mixed, mixed - target, 0.5)
        balanced = balanced + 0.05 * self_consistent_velocity(balanced, balanced - target, 0.0)
        lazy = lazy + 0.05 * lazy_velocity(lazy - target, 0.5)
    torch.testing.assert_close(products, torch.stack([f.second @ f.first for f in factors]))
    torch.testing.assert_close(equations, torch.stack([mixed, balanced, lazy]))


def test_all_start_where_the_network_does(data):
    first = data.isel(time=0)
    assert float(first["distance"].max()) == 0
    assert float(first["equation_distance"].max()) == 0
    assert float(first["error"].std("dynamics").max()) < 1e-15


def test_the_lazy_equation_is_the_right_one_only_above_the_singular_values(data):
    off = data["equation_distance"].max("time").mean("seed")
    assert float(off.sel(equation="lazy").isel(gamma_threshold=-1)) < 0.1
    assert float(off.sel(equation="lazy").isel(gamma_threshold=0)) > 0.5


def test_the_allowance_adds_the_start_and_eulers_delay():
    assert allowance(100, 1, 0.0 + 200.0, 10_000, math.inf) == pytest.approx(0.1 * 3)
    assert allowance(100, 4, 100.0, 10**20, 5.0) == pytest.approx(math.log(2) / 20)


def test_settings_want_several_thresholds_and_widths_in_order():
    for name in ("gamma_threshold", "gamma_width"):
        with pytest.raises(InputError, match="at least three, in increasing order"):
            EXPERIMENT.at_scale("quick", {name: (1.4, 0.4, 1.0)})


def test_the_original_sizes_are_those_of_the_paper():
    paper = EXPERIMENT.at_scale("paper")
    assert (paper.dim, paper.rank, paper.steps, paper.resolution) == (500, 5, 100, 5)
    assert int(paper.dim ** paper.gamma_width[-1]) == 1_182_177
    assert 0.4 in paper.gamma_threshold


def test_figures_show_every_threshold_and_width(data):
    errors, widths = EXPERIMENT.figures(data)
    assert [len(chart.choices) for chart in errors.charts] == [3, 3]
    assert len(widths.charts[0].x.values) == 4
