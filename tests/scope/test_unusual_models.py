"""Models that are rare, and models that change under way."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from learnscope.observables import Movement, Units, WeightSpectra
from learnscope.scope import schedules
from learnscope.scope.scope import Scope


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.spectrum, self.head = nn.Linear(6, 5, dtype=torch.complex64), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.spectrum(x.to(torch.complex64)).abs())


def test_complex_layers_and_weights_are_measured_whole(blobs, tmp_path):
    model = Complex()
    scope = Scope(model, blobs, store=tmp_path, at=schedules.every(1))
    start = model.spectrum.weight.detach().clone()
    with torch.no_grad():
        model.spectrum.weight += 0.1j
    scope.step()
    data = scope.data
    assert scope.failures == {}
    assert data["layer"].values.tolist() == ["spectrum", "head"]
    weight = model.spectrum.weight.detach()
    distance = float((weight - start).norm() / start.norm())
    assert float(data["weight_distance"][1].sel(parameter="spectrum.weight")) == pytest.approx(distance, rel=1e-5)
    assert data["singular_value"][1].sel(weight="spectrum.weight").values[:5] == pytest.approx(
        torch.linalg.svdvals(weight).numpy(), rel=1e-5
    )
    hidden = model.spectrum(blobs[0].to(torch.complex64))
    rms = float(torch.view_as_real(hidden.detach()).square().mean().sqrt())
    assert float(data["activation_rms"][1].sel(layer="spectrum")) == pytest.approx(rms, rel=1e-5)
    assert scope.report().exists()


def test_complex_inputs_are_measured(blobs, tmp_path):
    model = nn.Sequential(nn.Linear(6, 3, dtype=torch.complex64), Modulus())
    scope = Scope(model, (blobs[0].to(torch.complex64), blobs[1]), store=tmp_path)
    assert scope.failures == {}
    assert scope.report().exists()


class Modulus(nn.Module):
    def forward(self, x):
        return x.abs()


class Squeezing(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.hidden, self.head = nn.Linear(6, 8), nn.Linear(8, outputs)

    def forward(self, x):
        return self.head(self.hidden(x[:, None]).squeeze()).squeeze()


@pytest.mark.parametrize(("outputs", "n"), [(3, 81), (1, 81), (3, 17)])
def test_a_model_that_squeezes_meets_no_single_example(blobs, outputs, n):
    x, y = blobs
    probe = (x[:n], y[:n] % max(outputs, 2))
    # a budget for 16 examples at a time, 8 · 8 floats an example
    scope = Scope(Squeezing(outputs), probe, budget=max(16 * 8 * 4 * 8, 8 * 4 * n * 2), layers=["hidden", "head"])
    assert scope.failures == {}
    assert float(scope.data["probe_accuracy"][0]) >= 0


def test_parameters_that_come_later_are_not_followed(small_model, blobs):
    scope = Scope(small_model, blobs, at=schedules.every(1))
    small_model[0].register_parameter("extra", nn.Parameter(torch.ones(4, 4)))
    scope.step()
    assert scope.failures == {}
    assert scope.data["parameter"].values.tolist() == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert np.isfinite(scope.data["weight_distance"].values).all()
    assert scope.data["weight"].values.tolist() == ["0.weight", "2.weight"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model[0].register_parameter("bias", None), r"'0.bias' .* is gone: record the changed model"),
        (
            lambda model: model.__setitem__(2, nn.Linear(12, 4)),
            r"'2.weight' .* has shape \[4, 12\] instead of \[3, 12\]",
        ),
    ],
)
def test_parameters_that_go_are_told_once(small_model, blobs, change, message, caplog):
    scope = Scope(small_model, blobs, at=schedules.every(1), observables=[Movement(), WeightSpectra(), Units()])
    change(small_model)
    scope.step()
    scope.step()
    assert set(scope.failures) == {"movement", "spectra"}
    assert all(re.search(message, reason) for reason in scope.failures.values())
    assert len(caplog.records) == 2
    assert np.isnan(scope.data["weight_distance"].values[1:]).all()
    assert np.isfinite(scope.data["activation_rms"].values).all()
