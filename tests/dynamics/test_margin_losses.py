import math

import pytest
import torch
from torch.func import grad

from learnscope.dynamics.margin_losses import KINDS, MarginLoss, margin_loss
from learnscope.errors import InputError

MARGINS = torch.tensor([-50.0, -2.0, 0.0, 0.5, 0.99, 1.01, 2.0, 60.0], dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_the_slope_is_the_derivative_of_the_value(kind):
    loss = MarginLoss(kind)
    expected = torch.stack([grad(loss.value)(margin) for margin in MARGINS])
    assert loss.slope(MARGINS).tolist() == pytest.approx(expected.tolist(), abs=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", [-1.0, 1.0])
def test_the_pull_is_the_derivative_in_the_prediction(kind, label):
    loss, labels = MarginLoss(kind), torch.full_like(MARGINS, label)
    expected = torch.stack([grad(lambda f: loss.of(f, torch.tensor(label, dtype=f.dtype)))(f) for f in MARGINS])
    assert loss.pull(MARGINS, labels).tolist() == pytest.approx(expected.tolist(), abs=1e-13)
    assert loss.of(MARGINS, labels).tolist() == pytest.approx(loss.value(label * MARGINS).tolist())


def test_the_closed_forms():
    margin = torch.tensor([0.25], dtype=torch.float64)
    values = {kind: float(MarginLoss(kind).value(margin)) for kind in KINDS}
    assert values == pytest.approx(
        {
            "hinge": 0.75,
            "soft_hinge": math.log(1 + math.exp(15)) / 20,
            "quadratic_hinge": 0.75**2 / 2,
            "logistic": math.log(1 + math.exp(-0.25)),
            "squared": 0.75**2 / 2,
        }
    )


def test_the_soft_hinge_tends_to_the_hinge():
    far = MARGINS[(MARGINS - 1).abs() > 0.5]
    sharp = MarginLoss("soft_hinge", sharpness=1000.0)
    assert sharp.value(far).tolist() == pytest.approx(MarginLoss("hinge").value(far).tolist(), abs=1e-12)


def test_the_squared_loss_takes_any_label():
    loss, labels = MarginLoss("squared"), torch.tensor([3.0, -0.5])
    predictions = torch.tensor([1.0, 1.0])
    assert loss.of(predictions, labels).tolist() == [2.0, 1.125]
    assert loss.pull(predictions, labels).tolist() == [-2.0, 1.5]


@pytest.mark.parametrize(
    ("make", "says"),
    [(lambda: margin_loss("hing"), "'hinge'"), (lambda: MarginLoss("soft_hinge", sharpness=-1.0), "positive")],
)
def test_bad_input_gets_one_sentence(make, says):
    with pytest.raises(InputError, match=says):
        make()
