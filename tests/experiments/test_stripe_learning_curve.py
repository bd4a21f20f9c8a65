import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from learnscope import laboratory
from learnscope.distributions.interfaces import stripe
from learnscope.experiments.stripe_learning_curve import EXPERIMENT, LEARNERS, _neighbours_error, fall, growth

SMALL = EXPERIMENT.settings(
    n_train=(32, 64, 512, 1024), n_test=500, width=200, longest=64, lazy_width=200, longest_lazy=64
)


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, SMALL, seeds=4)


def powers(sizes=(64, 256, 512, 1024)):
    """Return errors that are exact powers of p, without networks beyond 256 examples."""
    p = np.array(sizes, dtype=float)
    found = {"feature": p**-0.7, "limit": p**-0.4, "lazy": p**-0.4, "neighbours": p**-0.2}
    values = np.stack([np.where((p > 256) & (name in ("feature", "lazy")), np.nan, found[name]) for name in LEARNERS])
    coords = {"dim": [5], "learner": list(LEARNERS), "n_train": list(sizes)}
    one = xr.DataArray(values[None], dims=("dim", "learner", "n_train"), coords=coords)
    return xr.Dataset({"error": xr.concat([one, one], dim="seed")})


def test_features_learn_from_fewer_examples_than_the_lazy_limit_and_neighbours_from_more(data):
    mean = data["error"].sel(dim=5, n_train=64).mean("seed")
    order = mean.sel(learner=["feature", "limit", "neighbours"]).values
    assert (np.diff(order) > 0).all()
    assert float(mean.sel(learner="lazy")) == pytest.approx(float(mean.sel(learner="limit")), rel=0.3)


def test_controls_of_the_exponents_without_training_fail(data):
    learning, nearest = laboratory.judge(EXPERIMENT, data)
    assert learning.criteria[-2].control.fails
    assert nearest.claim.name == "knn-curve"


def test_networks_reach_all_margins_where_they_are_trained(data):
    trained = data["unfitted"].sel(n_train=[32, 64])
    assert float(trained.max()) == 0
    assert np.isnan(data["unfitted"].sel(n_train=512)).all()


def test_exponents_are_read_off_the_sizes_that_they_are_asked_of():
    data = powers()
    assert float(growth("feature")(data)) == pytest.approx(0.3)
    assert float(growth("lazy")(data)) == pytest.approx(0)
    assert float(fall("limit")(data)) == pytest.approx(-0.4)
    assert float(fall("neighbours")(data)) == pytest.approx(-0.2)


@pytest.mark.parametrize(("claim", "place"), [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)])
def test_predicted_powers_lie_in_every_band_and_the_controls_outside(claim, place):
    criterion, data = EXPERIMENT.claims[claim].criteria[place], powers()
    low, high = criterion.band.ends(criterion.predicted)
    assert low <= float(criterion.measured(data)) <= high
    assert not low <= float(criterion.control(data)) <= high


def test_neighbours_vote(generator):
    train = stripe(300, 2, generator)
    assert _neighbours_error(train, stripe(2000, 2, generator)) < 0.15


def test_the_figures_show_all_learners_with_gaps_where_nothing_was_trained(data):
    curves, local = EXPERIMENT.figures(data)
    lines = {line.name: line for line in curves.charts[0].choices[0].views[0].series}
    assert np.isfinite(lines[LEARNERS["limit"]].y).all()
    assert np.isfinite(lines[LEARNERS["feature"]].y).tolist() == [True, True, False, False]
    assert "ρ" in {line.name for line in local.charts[0].choices[0].views[0].series}


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"dim": (2, 3)}, "there must be 5 among them"), ({"n_train": (64, 128, 512)}, "two from 512 on")],
)
def test_sizes_that_the_claims_need_are_asked_for(changes, message):
    with pytest.raises(ValidationError, match=message):
        EXPERIMENT.settings(**changes)
