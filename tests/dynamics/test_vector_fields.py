import math

import pytest
import torch

from learnscope.dynamics.vector_fields import jacobian, work_along_circles


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_jacobian_equals_that_of_automatic_differentiation():
    def field(A):
        return torch.sin(A) @ A.mT @ A

    matrices = randn(3, 2, 4)
    for matrix, J in zip(matrices, jacobian(field, matrices), strict=True):
        exact = torch.autograd.functional.jacobian(field, matrix).reshape(8, 8)
        assert J.numpy() == pytest.approx(exact.numpy(), abs=1e-10)


def circles(n, seed):
    axes = torch.linalg.qr(randn(n, 6, 2, seed=seed)).Q.movedim(-1, 0).unflatten(-1, (2, 3))
    return randn(n, 2, 3, seed=seed + 1), axes


def test_a_gradient_does_no_work_around_a_loop_and_gains_its_potential_on_the_way():
    centres, axes = circles(5, seed=1)
    share = work_along_circles(lambda A: A.cos(), centres, axes, 0.5, 64)
    assert share.shape == (5, 65)
    assert float(share[:, -1].abs().max()) < 1e-14
    angle = torch.linspace(0, 2 * torch.pi, 65, dtype=torch.float64)[:, None, None, None]
    points = centres + 0.5 * (angle.cos() * axes[0] + angle.sin() * axes[1])
    gained = (points.sin() - points[0].sin()).sum((-2, -1)).mT
    length = points[1:].cos().square().sum((-2, -1)).sqrt().mean(0) * math.pi
    assert share.numpy() == pytest.approx((gained / length[:, None]).numpy(), abs=2e-3)


def test_the_work_of_a_linear_field_is_its_curl_times_the_area():
    M = randn(6, 6, seed=3)
    centres, axes = circles(4, seed=4)

    def field(A):
        return (A.flatten(-2) @ M.mT).unflatten(-1, (2, 3))

    share = work_along_circles(field, centres, axes, 0.7, 32)[:, -1]
    first, second = axes.flatten(-2)
    curl = ((second @ M) * first - (first @ M) * second).sum(-1)
    angle = 2 * torch.pi * torch.arange(32, dtype=torch.float64)[:, None, None, None] / 32
    speed = torch.linalg.matrix_norm(field(centres + 0.7 * (angle.cos() * axes[0] + angle.sin() * axes[1]))).mean(0)
    expected = curl * math.pi * 0.7**2 / (speed * 2 * math.pi * 0.7)
    assert share.numpy() == pytest.approx(expected.numpy(), abs=1e-12)
