"""Measures of what a kernel knows, on Datasets that are written down."""

import numpy as np
import pytest
import torch
import xarray as xr

from learnscope.distributions.interfaces import stripe
from learnscope.experiments.shared.kernel_knowledge import (
    COMPONENTS,
    aligned,
    alignment_claim,
    classifier_claim,
    error_ratio,
    gathered,
    informed,
    kept_gain,
    knowledge,
    signatures_claim,
)


def whole(data):
    return data


@pytest.fixture
def data():
    """Two seeds in which feature training does all that is claimed, and the controls do nothing."""
    kernels, learners = ["before", "after", "lazy", "shuffled"], ["before", "after", "lazy", "network"]
    alignment = [[0.1, 0.3, 0.1, 0.11], [0.1, 0.25, 0.1, 0.09]]
    first, information = [0.2, 0.6, 0.2, 0.2], [0.3, 0.9, 0.3, 0.3]
    rest = np.full((2, 4, COMPONENTS - 1), 0.01)
    along = [np.concatenate([np.tile(lead, (2, 1))[..., None], rest], -1) for lead in (first, information)]
    return xr.Dataset(
        {
            "alignment": (("seed", "kernel"), alignment),
            "share": (("seed", "kernel", "rank"), along[0]),
            "information": (("seed", "kernel", "rank"), along[1]),
            "error": (("seed", "learner"), [[0.20, 0.05, 0.20, 0.04], [0.22, 0.07, 0.22, 0.06]]),
        },
        coords={"kernel": kernels, "learner": learners, "rank": np.arange(1, COMPONENTS + 1)},
    )


def test_an_ideal_kernel_knows_the_label_in_one_component(generator):
    _, y = stripe(100, 2, generator)
    jitter = 1e-3 * torch.diag(torch.rand(100, generator=generator, dtype=torch.float64))
    found = knowledge(torch.outer(y, y) + jitter, y, 12)
    assert float(found.shares[0]) == pytest.approx(1, abs=1e-3)
    assert float(found.information[0]) > 0.9
    assert float(found.alignment) > 0.99
    assert (len(found.shares), len(found.information), found.components.shape) == (COMPONENTS, COMPONENTS, (100, 12))


def test_measures_compare_with_the_kernel_before_training(data):
    assert aligned(whole, "after")(data).values == pytest.approx([3, 2.5])
    assert gathered(whole, "after")(data).values == pytest.approx([0.4, 0.4])
    assert informed(whole, "after")(data).values == pytest.approx([0.9, 0.9])


def test_errors_are_compared_after_their_mean_over_seeds(data):
    assert float(error_ratio(whole, "after", "before")(data)) == pytest.approx(0.06 / 0.21)
    assert float(kept_gain(whole, "after")(data)) == pytest.approx((0.21 - 0.06) / (0.21 - 0.05))
    assert float(kept_gain(whole, "lazy")(data)) == pytest.approx(0)
    assert float(kept_gain(whole, "network")(data)) == pytest.approx(1)


@pytest.mark.parametrize("claim", [alignment_claim(whole), classifier_claim(whole), signatures_claim(whole)])
def test_what_is_claimed_lies_in_every_band_and_the_control_outside(data, claim):
    for criterion in claim.criteria:
        low, high = criterion.band.ends(criterion.predicted)
        measured, control = criterion.measured(data), criterion.control(data)
        assert bool(((low <= measured) & (measured <= high)).all()), criterion.name
        assert bool(((control < low) | (control > high)).all()), criterion.name


def test_a_view_is_what_is_judged(data):
    two = xr.concat([data, data.assign(alignment=data["alignment"] * 0 + 1)], "task")
    assert aligned(lambda d: d.isel(task=1), "after")(two).values == pytest.approx([1, 1])
