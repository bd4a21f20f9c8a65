"""Probes leave out one example at a time, exactly, without fitting again."""

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from learnscope.errors import InputError
from learnscope.observables import probes as module
from learnscope.observables.neighbours import nearest_neighbours
from learnscope.observables.probes import knn_accuracy, linear_probe_accuracy
from learnscope.observables.reference import probes as reference
from learnscope.randomness import generator

random = generator("test probes")


def labelled(n: int, d: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.arange(n) % classes
    means = torch.randn(classes, d, generator=random)
    return means[y] + torch.randn(n, d, generator=random), y


@pytest.mark.parametrize(("n", "d"), [(30, 4), (12, 25), (20, 20)])
@pytest.mark.parametrize("ridge", [1e-3, 1.0, 100.0])
def test_leaving_out_by_the_hat_matrix_equals_fitting_again(n, d, ridge, monkeypatch):
    h, y = labelled(n, d, 3)
    monkeypatch.setattr(module, "_ridges", lambda energies: torch.tensor([ridge], dtype=torch.float64))
    answers = reference.linear_probe_predictions(h, y, ridge)
    right = (answers.argmax(1) == y).double().mean()
    torch.testing.assert_close(linear_probe_accuracy(h, y).value, right)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (12, 25)])
def test_the_left_out_answers_themselves_are_exact(n, d):
    h, y = labelled(n, d, 3)
    x = h.double() - h.double().mean(0)
    vectors, energies = module._decomposition(x / x.square().mean(0).sqrt())
    targets = torch.nn.functional.one_hot(y).double()
    answers = targets - module._left_out(vectors, energies, targets, torch.tensor([2.0]))[0]
    torch.testing.assert_close(answers, reference.linear_probe_predictions(h, y, 2.0))


def test_the_ridge_with_the_smallest_left_out_error_is_chosen():
    h, y = labelled(24, 40, 2)
    noted = float(linear_probe_accuracy(h, y).notes[0].split()[1].rstrip(","))
    x = h.double() - h.double().mean(0)
    scale = (x / x.square().mean(0).sqrt()).square().sum() / 23
    targets = torch.nn.functional.one_hot(y).double()
    ridges = torch.logspace(-6, 3, 10, dtype=torch.float64) * scale
    errors = [(reference.linear_probe_predictions(h, y, float(r)) - targets).square().sum() for r in ridges]
    assert noted == pytest.approx(float(ridges[int(torch.stack(errors).argmin())]), rel=0.01)


def test_digits_are_read_linearly():
    data = load_digits()
    estimate = linear_probe_accuracy(torch.tensor(data.data), torch.tensor(data.target))
    assert 0.9 < float(estimate) < 0.97
    p = float(estimate)
    assert float(estimate.standard_error) == pytest.approx((p * (1 - p) / 1797) ** 0.5)
    assert bool(estimate.converged)


def test_random_labels_are_read_at_chance_even_with_more_features_than_examples():
    h = torch.randn(200, 400, generator=random)
    y = torch.randint(0, 2, (200,), generator=random)
    estimate = linear_probe_accuracy(h, y)
    assert abs(float(estimate) - 0.5) < 0.12


def test_scale_offset_constants_and_names_of_classes_change_nothing():
    h, y = labelled(40, 5, 3)
    h = h.double()
    other = torch.cat([h * 1e-3 + 1e3, torch.full((40, 2), 0.1)], dim=1)
    assert torch.equal(linear_probe_accuracy(h, y).value, linear_probe_accuracy(other, 100 - 7 * y).value)


def test_votes_equal_the_definition():
    h, y = labelled(60, 3, 4)
    for k in (1, 2, 5):
        assert float(knn_accuracy(h, y, k)) == pytest.approx(reference.knn_accuracy(h, y, k))


def test_votes_agree_with_scikit_learn_without_ties():
    h, y = labelled(60, 3, 2)
    right = 0
    for i in range(60):
        rest = torch.arange(60) != i
        fitted = KNeighborsClassifier(5).fit(h[rest].numpy(), y[rest].numpy())
        right += int(fitted.predict(h[i : i + 1].numpy())[0] == int(y[i]))
    assert float(knn_accuracy(h, y)) == pytest.approx(right / 60)


def test_ties_go_to_the_nearest():
    h = torch.tensor([[0.0], [1.0], [2.1], [100.0], [101.0], [102.1]])
    y = torch.tensor([0, 0, 1, 1, 1, 0])
    assert float(knn_accuracy(h, y, k=2)) == pytest.approx(4 / 6)


def test_neighbours_may_be_shared():
    h, y = labelled(60, 3, 4)
    assert torch.equal(knn_accuracy(h, y, 3, nearest_neighbours(h, 20)).value, knn_accuracy(h, y, 3).value)


@pytest.mark.parametrize("probe", [linear_probe_accuracy, knn_accuracy])
def test_one_class_cannot_be_told_apart(probe):
    estimate = probe(torch.rand(20, 3), torch.full((20,), 4))
    assert estimate.value.isnan()
    assert not bool(estimate.converged)
    assert estimate.notes == ("there is only one class",)


@pytest.mark.parametrize("probe", [linear_probe_accuracy, knn_accuracy])
def test_a_class_with_a_single_example_is_pointed_out(probe):
    h, y = labelled(30, 3, 2)
    estimate = probe(h, y.index_fill(0, torch.tensor([0]), 9))
    assert not bool(estimate.converged)
    assert any("single example" in note for note in estimate.notes)


@pytest.mark.parametrize("probe", [linear_probe_accuracy, knn_accuracy])
def test_constant_features_tell_nothing(probe):
    y = torch.arange(30) % 3
    assert float(probe(torch.full((30, 4), 0.1), y)) <= 0.4


@pytest.mark.parametrize("probe", [linear_probe_accuracy, knn_accuracy])
def test_half_precision_agrees(probe):
    h, y = labelled(60, 3, 2)
    assert torch.equal(probe(h.half(), y).value, probe(h.half().double(), y).value)


@pytest.mark.parametrize("probe", [linear_probe_accuracy, knn_accuracy])
def test_says_in_a_sentence_what_cannot_be_probed(probe):
    h, y = labelled(20, 3, 2)
    with pytest.raises(InputError, match="integers"):
        probe(h, y.float())
    with pytest.raises(InputError, match="for 20 examples"):
        probe(h, y[:19])
    with pytest.raises(InputError, match="NaN"):
        probe(h.index_fill(0, torch.tensor([1]), torch.nan), y)


def test_says_which_neighbours_do_not_fit():
    h, y = labelled(20, 3, 2)
    with pytest.raises(InputError, match="3 neighbours of 20"):
        knn_accuracy(h, y, 5, nearest_neighbours(h, 3))
    with pytest.raises(InputError, match="at least 6"):
        knn_accuracy(h[:5], y[:5])
