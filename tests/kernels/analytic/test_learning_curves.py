"""Expected errors against closed forms and simulated regressions."""

import pytest
import torch

from learnscope.errors import InputError
from learnscope.kernels.analytic import expected_error


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("n", [100, 500, 900])
def test_equal_modes_without_ridge_are_learned_in_proportion_to_the_examples(n):
    assert expected_error(tensor(2.0), tensor(1000), tensor(1), n, ridge=0) == pytest.approx(1 - n / 1000)


def test_modes_of_no_eigenvalue_are_never_learned():
    error = expected_error(tensor(1, 0), tensor(1000, 1), tensor(0, 1), 500, ridge=0)
    assert error == pytest.approx(1 / (1 - 500 / 1000))  # their power acts as noise


def test_a_large_ridge_learns_nothing():
    assert expected_error(tensor(1), tensor(50), tensor(3), 20, ridge=1e9) == pytest.approx(3, rel=1e-5)


def test_small_eigenvalues_act_as_a_ridge_of_their_sum():
    whole = expected_error(tensor(1, 1e-7), tensor(20, 10**6), tensor(1, 0), 50, ridge=0.2)
    assert whole == pytest.approx(expected_error(tensor(1), tensor(20), tensor(1), 50, ridge=0.3), rel=1e-4)


def test_regressions_on_gaussian_features_err_by_as_much_on_average(generator):
    n, ridge, noise = 60, 0.5, 0.3
    eigenvalues, counts, powers = tensor(1.0, 0.1, 0.01), tensor(10, 60, 200), tensor(1.0, 0.5, 0.2)
    spread, each = (part.repeat_interleave(counts.long()) for part in (eigenvalues, powers / counts))
    errors = []
    for _ in range(60):
        x = torch.randn(n, len(spread), generator=generator, dtype=torch.float64)
        target = each.sqrt() * torch.randn(len(spread), generator=generator, dtype=torch.float64)
        y = x @ target + noise * torch.randn(n, generator=generator, dtype=torch.float64)
        gram = x * spread @ x.mT + ridge * torch.eye(n, dtype=torch.float64)
        found = spread * (x.mT @ torch.linalg.solve(gram, y))
        errors.append((found - target).square().sum())
    mean = torch.stack(errors).mean()
    assert float(mean) == pytest.approx(
        expected_error(eigenvalues, counts, powers, n, ridge=ridge, noise=noise), rel=0.06
    )


def test_wrong_arguments_are_one_sentence():
    one = tensor(1)
    with pytest.raises(InputError, match="three of one"):
        expected_error(one, one, tensor(1, 2), 5, ridge=1)
    with pytest.raises(InputError, match="from 0 on"):
        expected_error(-one, one, one, 5, ridge=1)
    with pytest.raises(InputError, match="give a ridge"):
        expected_error(one, one, one, 5, ridge=0)
