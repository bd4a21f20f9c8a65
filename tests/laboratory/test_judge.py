import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

from learnscope.errors import InputError
from learnscope.laboratory import Claim, Criterion, at_least, judge, simulate_all, within
from learnscope.laboratory.bootstrap import over_seeds, pooled
from learnscope.laboratory.judge import placed
from learnscope.laboratory.summary import control_text


def mean_of_shifted(data):
    return data["mean"].sel(shift=2.0)


def bounds(estimate):
    return tuple(float(end) for end in estimate.interval())


def test_the_interval_of_a_mean_agrees_with_scipy():
    values = np.random.default_rng(0).exponential(size=40)
    ours = bounds(over_seeds(values, seed=1))
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=0).confidence_interval
    np.testing.assert_allclose(ours, (theirs.low, theirs.high), rtol=0.02)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(400):
        low, high = bounds(over_seeds(random.normal(size=10), seed=trial))
        covered += low <= 0.0 <= high
    assert 0.86 <= covered / 400 <= 0.97  # the percentile bootstrap of ten seeds is a little narrow


def test_ten_of_ten_seeds_do_not_prove_certainty():
    low, high = bounds(over_seeds(np.ones(10, bool), seed=0))
    assert low == pytest.approx(0.722, abs=1e-3)
    assert high == 1.0


def test_a_number_without_spread_has_an_interval_of_length_zero():
    assert bounds(over_seeds(np.full(10, 3.0), seed=0)) == (3.0, 3.0)


def test_seeds_without_a_number_are_dropped_with_a_count():
    estimate = over_seeds(np.array([1.0, np.nan, 3.0, 2.0]), seed=0)
    assert float(estimate) == 2.0
    assert int(estimate.n) == 3
    assert estimate.notes == ("1 of 4 seeds gave no number",)


def test_nothing_is_concluded_from_two_seeds_or_from_none():
    assert placed(over_seeds(np.array([1.0, 1.0]), seed=0), (0.0, 2.0)) == "inconclusive"
    assert placed(over_seeds(np.array([]), seed=0), (0.0, 2.0)) == "inconclusive"


def test_infinities_are_not_hidden_in_a_mean():
    estimate = over_seeds(np.array([1.0, np.inf, 2.0]), seed=0)
    assert bounds(estimate) == (1.0, np.inf)


def test_a_pooled_number_is_resampled_over_seeds():
    values = np.random.default_rng(3).normal(5.0, 1.0, 50)
    data = xr.Dataset({"value": ("seed", values)})
    estimate = pooled(lambda d: np.exp(d["value"].mean()), data, seed=0)
    assert float(estimate) == pytest.approx(np.exp(values.mean()))
    # delta method: sd(exp(mean)) = exp(mean) sd / sqrt(n)
    assert float(estimate.standard_error) == pytest.approx(np.exp(values.mean()) * values.std() / np.sqrt(50), rel=0.25)


def test_a_claim_that_holds_is_reproduced_and_its_control_fails(experiment):
    (verdict,) = judge(experiment, simulate_all(experiment, experiment.settings(dim=50), seeds=5))
    assert verdict.verdict == "reproduced"
    assert verdict.criteria[0].control.fails


def test_verdicts_are_the_same_each_time(experiment):
    data = simulate_all(experiment, experiment.settings(), seeds=5)
    first, second = (judge(experiment, data)[0].criteria[0].measured for _ in range(2))
    assert bounds(first) == bounds(second)


@pytest.mark.parametrize(
    ("band", "verdict"),
    [(within(0.2), "reproduced"), (at_least(3.0), "not reproduced"), (within(absolute=1e-3), "inconclusive")],
)
def test_the_verdict_follows_from_where_the_interval_lies(variant, band, verdict):
    criterion = Criterion("mean", mean_of_shifted, lambda d: float(mean_of_shifted(d).mean()), band, "a test")
    control = Criterion(
        "control", lambda d: d["seed"] * 0.0, 0.0, within(absolute=1.0), "a test", lambda d: d["seed"] * 0.0 + 9, "nine"
    )
    experiment = variant(claims=(Claim("c", "s", "s", (criterion, control)),))
    data = simulate_all(experiment, experiment.settings(dim=100), seeds=8)
    assert judge(experiment, data)[0].criteria[0].verdict == verdict
    assert judge(experiment, data)[0].verdict == verdict


def test_a_control_that_passes_makes_the_claim_inconclusive(variant):
    measure = lambda d: d["mean"].sel(shift=2.0)  # noqa: E731
    criterion = Criterion("mean", measure, 2.0, within(0.5), "a test", measure, "the same again")
    experiment = variant(claims=(Claim("c", "s", "s", (criterion,)),))
    (verdict,) = judge(experiment, simulate_all(experiment, experiment.settings(dim=50), seeds=5))
    assert verdict.criteria[0].verdict == "reproduced"
    assert verdict.verdict == "inconclusive"


@pytest.mark.parametrize(("control", "outcome"), [(9.0, "fails"), (2.0, "does not fail"), (np.nan, "no number")])
def test_a_control_without_a_number_is_not_said_to_pass(variant, control, outcome):
    measure = lambda d: d["mean"].sel(shift=2.0)  # noqa: E731
    against = lambda d: d["seed"] * 0.0 + control  # noqa: E731
    criterion = Criterion("mean", measure, 2.0, within(0.5), "a test", against, "another")
    experiment = variant(claims=(Claim("c", "s", "s", (criterion,)),))
    (verdict,) = judge(experiment, simulate_all(experiment, experiment.settings(dim=50), seeds=5))
    assert verdict.criteria[0].control.outcome == outcome
    assert control_text(verdict.criteria[0]).endswith("fails, as it must" if outcome == "fails" else outcome)
    assert verdict.verdict == ("reproduced" if outcome == "fails" else "inconclusive")


def test_points_that_are_not_finite_are_left_out_of_the_claims_with_a_count(variant, with_nan):
    experiment = variant(simulate=with_nan)
    data = simulate_all(experiment, experiment.settings(), seeds=10)
    bad = int((data["point_status"] == 2).sum())
    assert 0 < bad < 10
    judged = judge(experiment, data)[0].criteria[0]
    assert int(judged.measured.n) == 10 - bad
    assert judged.notes[0].startswith(f"{bad} seeds left out")


def test_a_measure_that_does_not_return_one_number_a_seed_is_named(variant):
    criterion = Criterion("both", lambda d: d["mean"], 0.0, at_least(0), "a test", lambda d: d["mean"], "the same")
    experiment = variant(claims=(Claim("c", "s", "s", (criterion,)),))
    with pytest.raises(InputError, match=r"criterion 'both' .* one number for each seed"):
        judge(experiment, simulate_all(experiment, experiment.settings(), seeds=3))


def test_a_claim_without_a_negative_control_cannot_be_written():
    with pytest.raises(TypeError, match="needs a negative control"):
        Claim("c", "s", "s", (Criterion("x", lambda d: d["mean"], 0.0, at_least(0), "a test"),))


def test_a_band_without_a_reason_cannot_be_written():
    with pytest.raises(TypeError, match="say why the band"):
        Criterion("x", lambda d: d["mean"], 0.0, at_least(0), "")


def test_simulating_leaves_the_global_random_state_and_threads_alone(experiment):
    torch.manual_seed(0)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    simulate_all(experiment, experiment.settings(), seeds=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_the_ends_of_an_interval_keep_the_precision_and_the_range_of_float64():
    low, high = bounds(over_seeds(np.array([1e300, 1e300, 1e300]), seed=0))
    assert low == high == 1e300
