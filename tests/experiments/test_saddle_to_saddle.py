"""Small weights pass the saddles of rank 0, 1 and 2 in turn."""

import pytest
import torch
from pydantic import ValidationError

from learnscope import laboratory
from learnscope.experiments.saddle_to_saddle import EXPERIMENT, PLATEAUS, _distances, _first_time, _time_at_plateaus


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, EXPERIMENT.settings(), seeds=4)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_ranks_are_learned_in_order(data):
    times = data["learned"].isel(start=slice(0, -1))
    assert bool((times.diff("mode") > 0).all())


def test_losses_never_rise_and_end_at_zero(data):
    assert float(data["loss"].diff("step").max()) < 1e-9
    assert float(data["loss"].isel(step=-1).max()) <= 1e-3


def test_no_fourth_mode_is_learned_from_small_weights(data):
    assert float(data["singular_value"].isel(place=3, start=0).max()) < 0.01


def test_the_gradient_dips_where_the_loss_rests(data):
    run = data.isel(start=0)
    resting = abs(run["loss"] - float(PLATEAUS[1])) < 1e-3
    assert float(run["gradient"].where(resting).min(["step"]).max()) < 0.05


def test_plateaus_are_the_least_losses_of_each_rank():
    assert PLATEAUS.tolist() == [10.5, 2.5, 0.5]


def test_time_at_plateaus_is_counted_until_the_loss_is_small():
    times = torch.tensor([0.0, 1.0, 2.0, 4.0, 9.0])
    loss = torch.tensor([10.5, 7.0, 2.5, 0.1, 0.0])
    assert float(_time_at_plateaus(times, loss)) == pytest.approx(3 / 4)


def test_distances_are_zero_at_a_saddle_and_one_at_the_target():
    target = torch.diag(torch.tensor([4.0, 2.0, 1.0, 0.0], dtype=torch.float64))
    saddle = torch.diag(torch.tensor([4.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    assert _distances(target, target).tolist() == [1.0, 1.0]
    assert _distances(saddle, target).tolist() == [0.0, 2.0]


def test_what_never_happens_has_no_time():
    times = torch.arange(3.0).expand(2, 3)
    found = _first_time(times, torch.tensor([[False, True, True], [False, False, False]]))
    assert found[0] == 1
    assert found[1].isnan()


def test_the_figures_show_every_depth(data):
    for figure in EXPERIMENT.figures(data):
        assert [choice.name for choice in figure.charts[0].choices] == ["2 layers", "3 layers", "4 layers"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"large_scales": (1.0,)}, "one entry for each of 2, 3 and 4 layers"),
        ({"scales": ((0.1,), (0.1,), (0.1,))}, "two at least"),
    ],
)
def test_every_depth_needs_its_scales(settings, told):
    with pytest.raises(ValidationError, match=told):
        EXPERIMENT.settings(**settings)
