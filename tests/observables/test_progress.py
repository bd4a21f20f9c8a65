import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learnscope.observables.margins import log_spectral_product, margins
from learnscope.observables.progress import example_losses, predicted_classes
from learnscope.observables.reference import progress as reference

rows = st.lists(st.floats(-30, 30), min_size=3, max_size=3)


@given(st.lists(st.tuples(rows, st.integers(0, 2)), min_size=1, max_size=8))
def test_losses_and_margins_equal_their_definitions(examples):
    outputs = torch.tensor([row for row, _ in examples], dtype=torch.float64)
    y = torch.tensor([label for _, label in examples])
    losses, gaps = example_losses(outputs, y, "classification"), margins(outputs, y)
    for k, (row, label) in enumerate(examples):
        assert float(losses[k]) == pytest.approx(reference.cross_entropy(row, label), abs=1e-9)
        assert float(gaps[k]) == pytest.approx(reference.margin(row, label), abs=1e-9)


def test_margin_is_positive_exactly_where_the_prediction_is_right(generator):
    outputs = torch.randn(200, 5, generator=generator)
    y = torch.arange(200) % 5
    assert torch.equal(margins(outputs, y) > 0, predicted_classes(outputs) == y)


def test_single_logit_is_a_binary_classifier():
    outputs, y = torch.tensor([[2.0], [-1.0]]), torch.tensor([1, 1])
    assert predicted_classes(outputs).tolist() == [1, 0]
    assert margins(outputs, y).tolist() == [2.0, -1.0]
    expected = [math.log1p(math.exp(-2)), math.log1p(math.exp(1))]
    assert example_losses(outputs, y, "classification").tolist() == pytest.approx(expected)


def test_single_logit_loss_does_not_overflow():
    assert float(example_losses(torch.tensor([[-1e4]]), torch.tensor([1]), "classification")) == 1e4


def test_real_targets_are_judged_by_the_mean_square():
    outputs = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    y = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    assert example_losses(outputs, y, "regression").tolist() == [2.0, 12.5]


def test_nan_outputs_predict_nothing():
    assert predicted_classes(torch.tensor([[math.nan, 1.0], [0.0, 1.0]])).tolist() == [-1, 1]


def test_half_precision_losses_are_computed_in_float64():
    outputs = torch.tensor([[0.0, 20.0]], dtype=torch.float16)
    assert float(example_losses(outputs, torch.tensor([1]), "classification")) == pytest.approx(math.exp(-20), rel=1e-6)


def test_product_of_norms_is_a_sum_of_logarithms_that_does_not_overflow():
    assert log_spectral_product({str(k): 1e200 for k in range(3)}) == pytest.approx(600 * math.log(10))
    assert log_spectral_product({"a": 2.0, "b": 0.0}) == -math.inf
