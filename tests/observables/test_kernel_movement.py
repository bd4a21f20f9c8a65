"""Movement of a kernel: its angle, its relative change, its speed."""

import numpy as np
import pytest
import torch

from learnscope.errors import InputError
from learnscope.observables.kernel_movement import kernel_change, kernel_distance, kernel_velocity
from learnscope.observables.reference import alignment as reference
from learnscope.observables.reference import spectra
from learnscope.randomness import generator

random = generator("test kernel movement")


def kernels(count: int, n: int = 12) -> torch.Tensor:
    x = torch.randn(count, n, 5, generator=random, dtype=torch.float64)
    return x @ x.mT


def test_equal_their_definitions_for_every_kernel_of_a_stack():
    now, before = kernels(3), kernels(3)
    turned = [reference.kernel_distance(a.numpy(), b.numpy()) for a, b in zip(now, before, strict=True)]
    changed = [spectra.relative_distance(a.numpy(), b.numpy()) for a, b in zip(now, before, strict=True)]
    np.testing.assert_allclose(kernel_distance(now, before), turned)
    np.testing.assert_allclose(kernel_change(now, before), changed)
    np.testing.assert_allclose(kernel_velocity(now, before, 8), np.array(turned) / 8)


def test_growth_is_a_change_but_no_turn():
    kernel = kernels(1)[0]
    assert float(kernel_distance(4 * kernel, kernel)) == pytest.approx(0, abs=1e-30)
    assert float(kernel_change(4 * kernel, kernel)) == pytest.approx(3)


def test_tiny_turns_keep_their_digits():
    kernel, other = kernels(2)
    other = other - (other * kernel).sum() / kernel.square().sum() * kernel
    angle = 1e-8
    moved = kernel / kernel.norm() + angle * other / other.norm()
    assert float(kernel_distance(moved, kernel)) == pytest.approx(angle**2 / 2, rel=1e-6)


def test_symmetric_in_its_arguments_and_at_most_one_for_gram_matrices():
    a, b = kernels(50, 4), kernels(50, 4)
    torch.testing.assert_close(kernel_distance(a, b), kernel_distance(b, a))
    assert float(kernel_distance(a, b).max()) <= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_other_precisions(dtype):
    a, b = (k.to(dtype) for k in kernels(2))
    assert float(kernel_distance(a, b)) == pytest.approx(
        reference.kernel_distance(a.double().numpy(), b.double().numpy())
    )


def test_missing_where_a_kernel_is_zero_or_not_finite():
    kernel = kernels(1)[0]
    broken = kernel.clone()
    broken[0, 0] = torch.inf
    for other in (torch.zeros_like(kernel), broken):
        assert bool(kernel_distance(kernel, other).isnan())
    assert float(kernel_change(kernel, torch.zeros_like(kernel))) == torch.inf
    assert bool(kernel_change(torch.zeros(2, 2), torch.zeros(2, 2)).isnan())


def test_bad_input_is_explained():
    with pytest.raises(InputError, match=r"\[12, 12\] and \[11, 11\]"):
        kernel_distance(kernels(1)[0], kernels(1, 11)[0])
    with pytest.raises(InputError, match="0 steps"):
        kernel_velocity(kernels(1)[0], kernels(1)[0], 0)
