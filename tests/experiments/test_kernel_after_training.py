"""The kernel after feature training learns like the network, on the stripe and on digits; every control fails."""

import dataclasses

import numpy as np
import pytest
import torch

from learnscope import laboratory
from learnscope.distributions.interfaces import Sample
from learnscope.experiments.kernel_after_training import EXPERIMENT, KERNELS, LEARNERS, _shuffled, on


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(n_train=(24, 80), n_test=400, n_probe=150, n_shuffled=20, width=100, hidden=16)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


@pytest.fixture(scope="module")
def verdicts(data):
    return {verdict.claim.name: verdict for verdict in laboratory.judge(EXPERIMENT, data)}


def test_it_judges_what_a_kernel_has_learned(verdicts):
    assert list(verdicts) == ["kernel-alignment", "final-ntk-svc", "mnist-kernel-pca"]


@pytest.mark.parametrize("claim", ["kernel-alignment", "final-ntk-svc", "mnist-kernel-pca"])
def test_every_control_is_outside_of_its_band(verdicts, claim):
    for judged in verdicts[claim].criteria:
        low, high = judged.band
        assert not low <= float(judged.control.measured) <= high, judged.criterion.name


def test_the_kernel_after_training_beats_the_one_before_and_laziness_keeps_it(data):
    error = data["error"].isel(n_train=-1).mean("seed")
    after, before = (error.sel(learner=name) for name in ("after", "before"))
    assert bool((after < before).all())
    assert error.sel(learner="lazy").values == pytest.approx(before.values, rel=0.15)


def test_feature_training_alone_turns_the_kernel_to_the_labels(data):
    ratio = data["alignment"].isel(n_train=-1).mean("seed")
    ratio = ratio / ratio.sel(kernel="before")
    assert float(ratio.sel(kernel="after").min()) > 1.3
    assert ratio.sel(kernel="lazy").values == pytest.approx(1, abs=0.1)
    assert bool((ratio.sel(kernel="shuffled") < ratio.sel(kernel="after")).all())


def test_all_trainings_reach_their_margins(data):
    assert bool(data["fitted"].all())


def test_shares_and_informations_are_possible(data):
    assert float(data["share"].sum("rank").max()) <= 1 + 1e-9
    assert float(data["share"].min()) >= 0
    assert float(data["information"].max()) <= 1 + 1e-9


def test_a_view_is_of_one_task_and_the_most_examples(data):
    assert np.array_equal(on("images")(data)["error"], data["error"].sel(task="images", n_train=80))


def test_shuffling_keeps_the_first_examples_and_how_many_of_each_label_there_are(generator):
    sample = Sample(torch.randn(40, 2, generator=generator), torch.arange(40) % 2 * 2.0 - 1)
    some = _shuffled(sample, 30, generator)
    assert torch.equal(some.x, sample.x[:30])
    assert float(some.y.sum()) == 0
    assert not torch.equal(some.y, sample.y[:30])
    assert len(_shuffled(sample, 100, generator).y) == 40


def test_the_figures_show_both_tasks_with_all_learners_and_kernels(data):
    errors, alignment, components = EXPERIMENT.figures(data)
    for figure, names in ((errors, LEARNERS), (alignment, KERNELS)):
        assert [choice.name for choice in figure.charts[0].choices] == ["stripe", "images"]
        assert [line.name for line in figure.charts[0].choices[0].views[0].series] == list(names.values())
    assert [chart.title for chart in components.charts] == ["stripe", "images"]
    summed = components.charts[0].choices[0].views[0].series[0].y
    assert bool((np.diff(summed) >= 0).all())


def test_one_task_alone_can_be_drawn_and_leaves_the_claims_on_the_other_open(data):
    images = data.sel(task=["images"])
    errors, alignment, components = EXPERIMENT.figures(images)
    assert errors.charts[0].starts == alignment.charts[0].starts == (0,)
    assert len(components.charts) == 1
    outer = dataclasses.replace(EXPERIMENT, claims=(EXPERIMENT.claims[0], EXPERIMENT.claims[-1]))
    on_stripe, on_images = laboratory.judge(outer, images)
    assert {judged.verdict for judged in on_stripe.criteria} == {"inconclusive"}
    assert all(np.isfinite(float(judged.measured)) for judged in on_images.criteria)
