"""Informations of layers equal their definitions and closed forms, and never leave what is possible."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.errors import InputError
from learnscope.observables import information_plane
from learnscope.observables.information_plane import binned_information, noisy_information
from learnscope.observables.reference import information_plane as reference
from learnscope.randomness import generator

random = generator("test information plane")


def layer(n=60, units=3, classes=3, dtype=torch.float64):
    h = torch.randn(n, units, generator=random).to(dtype)
    return h, torch.randint(0, classes, (n,), generator=random) * 5 - 7


def both(found):
    return float(found.inputs), float(found.labels)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize(("width", "low"), [(0.5, 0.0), (0.07, -1.0), (3.0, 0.4)])
def test_binned_information_equals_its_definition(dtype, width, low):
    h, y = layer(dtype=dtype)
    expected = reference.binned_information(h.double().tolist(), y.tolist(), width, low)
    assert both(binned_information(h, y, width, low=low)) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("variance", [1.0, 0.03])
def test_noisy_information_equals_its_definition(dtype, variance):
    h, y = layer(dtype=dtype)
    found = noisy_information(h, y, variance)
    assert both(found.upper) == pytest.approx(reference.noisy_information(h.double().tolist(), y.tolist(), variance))
    assert both(found.lower) == pytest.approx(
        reference.noisy_information(h.double().tolist(), y.tolist(), 4 * variance)
    )


def test_narrow_bins_and_little_noise_tell_all_inputs_apart():
    h, y = layer(n=64)
    prior = -sum(p * math.log2(p) for p in (y.unique(return_counts=True)[1] / 64).tolist())
    assert both(binned_information(h, y, 1e-9)) == pytest.approx((6.0, prior))
    assert both(noisy_information(h, y, 1e-12).lower) == pytest.approx((6.0, prior))


def test_wide_bins_much_noise_and_constant_layers_tell_nothing():
    h, y = layer()
    assert both(binned_information(h, y, 100.0, low=-50.0)) == pytest.approx((0.0, 0.0))
    assert both(noisy_information(h, y, 1e12).upper) == pytest.approx((0.0, 0.0), abs=1e-9)
    assert both(noisy_information(torch.full((60, 2), 1e8), y, 1e-3).upper) == pytest.approx((0.0, 0.0))


def test_the_information_of_one_gaussian_channel_lies_between_the_bounds():
    # h ~ N(0, s²) with noise N(0, v): I = ½ log₂(1 + s²/v)
    h = torch.randn(2000, 1, generator=random, dtype=torch.float64)
    found = noisy_information(h, torch.arange(2000) % 2, 0.1)
    assert float(found.lower.inputs) < 0.5 * math.log2(11) < float(found.upper.inputs)


def test_a_unit_that_tells_the_label_alone_tells_one_bit_of_each():
    y = torch.arange(40) % 2
    h = torch.where(y == 0, -1.0, 1.0)[:, None]
    assert both(binned_information(h, y, 0.07, low=-1.0)) == pytest.approx((1.0, 1.0))
    assert both(noisy_information(h, y, 1e-3).upper) == pytest.approx((1.0, 1.0))


def test_chunks_do_not_change_the_result(monkeypatch):
    h, y = layer()
    whole = noisy_information(h, y, 0.1)
    monkeypatch.setattr(information_plane, "BUDGET", 16 * 60 * 7)
    assert both(noisy_information(h, y, 0.1).upper) == pytest.approx(both(whole.upper), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 40), st.floats(1e-3, 10.0))
def test_informations_are_possible_and_hang_on_no_order(seed, n, scale):
    drawn = torch.Generator().manual_seed(seed)
    h, y = torch.randn(n, 2, generator=drawn), torch.randint(0, 2, (n,), generator=drawn)
    order = torch.randperm(n, generator=drawn)
    binned, noisy = binned_information(h, y, scale), noisy_information(h, y, scale)
    assert binned.labels >= -1e-9
    assert binned.labels <= min(float(binned.inputs), 1.0) + 1e-9
    assert -1e-9 <= noisy.lower.inputs <= noisy.upper.inputs + 1e-9
    assert noisy.upper.inputs <= math.log2(n) + 1e-9
    assert both(binned_information(h[order], y[order], scale)) == pytest.approx(both(binned))


def test_what_cannot_be_measured_is_refused():
    h, y = layer()
    with pytest.raises(InputError, match="width is 0"):
        binned_information(h, y, 0.0)
    with pytest.raises(InputError, match="2\\^40 bins"):
        binned_information(h, y, 1e-15)
    with pytest.raises(InputError, match="noise_variance is -1"):
        noisy_information(h, y, -1.0)
    with pytest.raises(InputError, match="NaN or infinite"):
        noisy_information(h * torch.nan, y, 1.0)
    with pytest.raises(InputError, match="must be integers"):
        binned_information(h, y.double(), 1.0)
