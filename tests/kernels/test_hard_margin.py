import pytest
import torch
from sklearn.svm import SVC

from learnscope.errors import InputError
from learnscope.kernels import hard_margin as module
from learnscope.kernels.hard_margin import hard_margin


def cubic(x1, x2):
    return (1 + x1 @ (x1 if x2 is None else x2).T) ** 3


@pytest.fixture
def data(generator):
    x = torch.randn(80, 3, generator=generator, dtype=torch.float64)
    return x, torch.where(x[:, 0] * x[:, 1] > 0, 1.0, -1.0).double()


@pytest.mark.parametrize("chunk", [1, 100, 10_000])
def test_predictions_are_those_of_scikit_learn_though_only_the_support_is_asked_for(data, chunk, monkeypatch):
    x, y = data
    monkeypatch.setattr(module, "CHUNK", chunk)
    asked = []

    def kernel(x1, x2):
        asked.append(None if x2 is None else len(x2))
        return cubic(x1, x2)

    machine = hard_margin(kernel, x[:50], y[:50])
    gram = cubic(x[:50], None)
    theirs = SVC(kernel="precomputed", C=1e6 / float(gram.diagonal().mean())).fit(gram.numpy(), y[:50].numpy())
    assert machine.predict(x[50:]).tolist() == theirs.predict(cubic(x[50:], x[:50]).numpy()).tolist()
    assert set(asked) == {None, len(machine.support)}
    assert machine.error(x[50:], y[50:]) == pytest.approx(1 - theirs.score(cubic(x[50:], x[:50]).numpy(), y[50:]))


def test_all_examples_are_on_their_side_and_the_support_holds_the_margin(data):
    x, y = data
    machine = hard_margin(cubic, x, y)
    assert machine.error(x, y) == 0
    held = machine.support
    again = hard_margin(cubic, x[held], y[held])
    assert torch.equal(again.predict(x), machine.predict(x))


def test_one_label_alone_is_refused(data):
    with pytest.raises(InputError, match="all examples are of class 1"):
        hard_margin(cubic, data[0], torch.ones(80))
