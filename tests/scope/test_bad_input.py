"""What a user may get wrong, each told in one sentence with the remedy."""

import numpy as np
import pytest
import torch
from torch import nn

from learnscope.errors import InputError
from learnscope.observables.progress import Progress
from learnscope.scope.scope import Scope

X, Y = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
MODEL = nn.Linear(6, 3)


class ReturnsDict(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return {"logits": self.head(x)}


class ToComplex(nn.Module):
    def forward(self, x):
        return torch.complex(x, x)


class Stateful(nn.Module):
    """Keeps a hidden state of the size of the last batch."""

    def __init__(self, n):
        super().__init__()
        self.cell, self.head, self.state = nn.GRUCell(6, 5), nn.Linear(5, 3), torch.zeros(n, 5)

    def forward(self, x):
        self.state = self.cell(x, self.state)
        return self.head(self.state)


@pytest.mark.parametrize(
    ("model", "probe", "message"),
    [
        (MODEL, (X.double(), Y), r"inputs are torch.float64 but the model's parameters torch.float32.*x.to"),
        (MODEL, (X.to("meta"), Y), r"the probe is on meta but the model on cpu: move it"),
        (MODEL, (X, Y + 1), r"labels run from 1 to 3, but the model has 3 outputs.*0 to 2"),
        (MODEL, (X, Y - 1), r"labels run from -1 to 1"),
        (MODEL, (X, Y.float()), r"labels are torch.float32 with shape \[20\], but the model returns 3 outputs.*y.long"),
        (MODEL, (X, torch.ones(20, dtype=torch.long)), r"one class only \(1\)"),
        (nn.Linear(6, 1), (X, (Y % 2).float()), r"zeros and ones of torch.float32.* task='classification' or task="),
        (MODEL, (X, nn.functional.one_hot(Y).double()), r"zeros and ones of torch.float64.*task='regression'"),
        (MODEL, (X, Y.to(torch.complex64)), r"the probe's labels are torch.complex64: pass integer classes"),
        (nn.Sequential(MODEL, ToComplex()), (X, Y), r"the model returned torch.complex64, but outputs must be real"),
        (Stateful(20), (X, Y), r"raised RuntimeError on the first 2 or 3 .*batch size.*pass predict=.*clears what it"),
        (nn.Linear(7, 3), (X, Y), r"raised RuntimeError on the first 2 or 3 .*cannot be multiplied.*check the probe"),
        (MODEL, (X, nn.functional.one_hot(Y)), r"integer labels have shape \[20, 3\].*argmax"),
        (MODEL, (X, torch.full((20, 3), torch.nan)), r"targets hold NaN"),
        (MODEL, (X[:0], Y[:0]), r"the probe is empty"),
        (MODEL, (X[:3], Y[:3]), r"3 examples, but neighbours and similarities need at least 4"),
        (MODEL, (X, Y[:19]), r"\[20, 19\] examples"),
        (MODEL, ("digits", Y), r"holds a str: hand over tensors or NumPy arrays"),
        (ReturnsDict(), (X, Y), r"returned a dict, not a tensor: pass predict="),
        (nn.Sequential(nn.Linear(6, 6), nn.Unflatten(1, (2, 3))), (X, Y), r"returned shape \[2, 2, 3\] for 2 examples"),
        (nn.LazyLinear(3), (X, Y), r"lazy parameters"),
    ],
)
def test_one_sentence_says_what_is_wrong_and_what_to_do(model, probe, message):
    with pytest.raises(InputError, match=message) as error:
        Scope(model, probe)
    assert "\n" not in str(error.value)
    assert str(error.value).count(". ") == 0


def test_predict_serves_models_that_return_something_else():
    model = ReturnsDict()
    data = Scope(model, (X, Y), predict=lambda model, x: model(x)["logits"]).data
    assert float(data["probe_accuracy"][0]) == pytest.approx(float((model.head(X).argmax(1) == Y).float().mean()))


def test_predict_may_clear_what_a_model_keeps():
    def predict(model, x):
        model.state = torch.zeros(len(x), 5)
        return model(x)

    model = Stateful(20)
    state = model.state
    scope = Scope(model, (X, Y), predict=predict)
    assert scope.failures == {}
    assert model.state is state


@pytest.mark.parametrize("shape", [(20,), (20, 1)])
def test_zeros_and_ones_are_what_the_task_says(shape):
    model, y = nn.Linear(6, 1), (Y % 2).float().reshape(shape)
    classes = Scope(model, (X, y), task="classification").data
    assert classes.equals(Scope(model, (X, Y % 2)).data)
    targets = Scope(model, (X, y), task="regression").data
    assert targets.attrs["task"] == "regression"
    loss = float((model(X)[:, 0] - Y % 2).square().mean().detach())
    assert float(targets["probe_loss"][0]) == pytest.approx(loss, rel=1e-5)


def test_integers_may_be_targets():
    data = Scope(nn.Linear(6, 1), (X, Y), task="regression").data
    assert data.attrs["task"] == "regression"


@pytest.mark.parametrize(
    ("y", "task", "message"),
    [(Y + 0.5, "classification", "not whole numbers"), (Y, "ranking", "task is 'ranking'")],
)
def test_a_task_that_does_not_fit_the_labels_is_refused(y, task, message):
    with pytest.raises(InputError, match=message):
        Scope(MODEL, (X, y), task=task)


def test_inputs_may_be_arrays_tuples_or_dicts():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, a, b):
            return self.head(a + b)

    model = Two()
    as_tuple = Scope(model, ((X, X), Y)).data
    as_dict = Scope(model, ({"a": X, "b": X}, Y)).data
    assert as_tuple["probe_loss"].equals(as_dict["probe_loss"])
    assert "explained_information" not in as_tuple  # a linear model of two inputs means nothing
    array = Scope(model, ((X.numpy(), X.numpy()), Y.numpy().astype(np.int32))).data
    assert array["probe_loss"].equals(as_tuple["probe_loss"])


def test_without_labels_what_needs_none_is_measured():
    data = Scope(MODEL, X).data
    assert "intrinsic_dimension" in data
    assert "probe_loss" not in data


def test_regression_has_a_loss_but_no_accuracy():
    data = Scope(MODEL, (X, torch.randn(20, 3))).data
    assert "probe_loss" in data
    assert not {"probe_accuracy", "margin", "explained_information", "knn_accuracy"} & set(data)


def test_a_single_logit_is_a_binary_classifier():
    data = Scope(nn.Linear(6, 1), (X, Y % 2)).data
    assert data.attrs["n_classes"] == 2
    assert 0 <= float(data["probe_accuracy"][0]) <= 1


def test_two_observables_of_one_name_are_refused():
    with pytest.raises(InputError, match="two observables are named 'progress'"):
        Scope(MODEL, (X, Y), observables=[Progress(), Progress()])


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((X, Y[:5]), "20 inputs and 5 labels"),
        ((X[:, :4], Y), r"shape \[4\] but the probe \[6\]"),
        ((X, Y + 5), r"integer classes \[n\] in 0 to 2"),
        (X, r"train must be \(x, y\)"),
    ],
)
def test_training_data_that_does_not_fit_the_probe_is_refused(train, message):
    with pytest.raises(InputError, match=message):
        Scope(MODEL, (X, Y), train=train)


def test_supplied_predictions_must_be_classes_of_the_probe():
    with pytest.raises(InputError, match=r"integer classes of the probe, \[20\]"):
        Scope(MODEL, (X, Y), simple_models={"small": torch.zeros(19, dtype=torch.long)})


def test_class_names_must_be_as_many_as_classes():
    with pytest.raises(InputError, match="2 class names for 3 classes"):
        Scope(MODEL, (X, Y), class_names=["a", "b"])
