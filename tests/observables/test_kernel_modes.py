"""Residuals along the modes of a kernel, and when they are gone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from learnscope.kernels import kernel_pca
from learnscope.observables.kernel_modes import mode_learning_speeds, mode_residuals, residual
from learnscope.randomness import generator

random = generator("test kernel modes")


@pytest.mark.parametrize("outputs", [1, 4])
def test_the_residual_of_classes_is_the_gradient_of_the_loss(outputs):
    f = torch.randn(6, outputs, generator=random, dtype=torch.float64, requires_grad=True)
    y = torch.arange(6) % max(outputs, 2)
    loss = F.binary_cross_entropy_with_logits(f[:, 0], y.double(), reduction="sum")
    if outputs > 1:
        loss = F.cross_entropy(f, y, reduction="sum")
    torch.testing.assert_close(residual(f.detach(), y, "classification"), torch.autograd.grad(loss, f)[0])


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_the_residual_of_targets_is_the_error(shape):
    y = torch.randn(shape, generator=random)
    assert residual(torch.zeros(6, 1), y, "regression").flatten().tolist() == (-y.double()).flatten().tolist()


def test_residuals_along_all_modes_sum_to_the_mean_square():
    x = torch.randn(8, 8, generator=random, dtype=torch.float64)
    modes = kernel_pca(x @ x.T, 8, centred=False).components
    errors = torch.randn(8, 3, generator=random, dtype=torch.float64)
    assert float(mode_residuals(modes, errors).sum()) == pytest.approx(float(errors.square().sum(1).mean()))


def test_under_gradient_flow_each_mode_falls_at_its_own_rate():
    """f(t) = (1 − exp(−Kt/n)) y, so squared residuals fall as exp(−2 λ t / n)."""
    n, times = 8, torch.linspace(0, 40, 400, dtype=torch.float64)
    x = torch.randn(n, n, generator=random, dtype=torch.float64)
    kernel, y = x @ x.T, torch.randn(n, 1, generator=random, dtype=torch.float64)
    found = kernel_pca(kernel, 3, centred=False)
    residuals = torch.stack(
        [mode_residuals(found.components, torch.linalg.matrix_exp(-kernel * t / n) @ y) for t in times]
    )
    speeds = mode_learning_speeds(residuals, times)
    expected = np.log(2) / (2 * found.eigenvalues / n)
    np.testing.assert_allclose(1 / speeds, expected, atol=float(times[1]))


def test_speed_needs_a_residual_that_stays_small():
    steps = torch.tensor([0, 1, 10, 100])
    columns = {"halved at 10": [2.0, 1.5, 1.0, 0.5], "comes back": [2.0, 0.1, 0.1, 1.9], "gone at once": [2.0, 0, 0, 0]}
    speeds = mode_learning_speeds(torch.tensor(list(columns.values())).T, steps)
    assert speeds.tolist() == pytest.approx([0.1, 0.0, 1.0])


def test_what_is_missing_is_passed_over():
    nan = torch.nan
    residuals = torch.tensor([[nan, 4.0], [nan, nan], [0.0, 1.0]]).repeat_interleave(1, 0)
    assert mode_learning_speeds(residuals, torch.tensor([0, 5, 20])).isnan().tolist() == [True, False]
    assert float(mode_learning_speeds(residuals, torch.tensor([0, 5, 20]))[1]) == pytest.approx(1 / 20)
    assert mode_learning_speeds(torch.full((3, 1), nan), torch.tensor([0, 5, 20])).isnan().all()
    assert mode_learning_speeds(torch.zeros(0, 2), torch.zeros(0)).isnan().all()
