"""The composed kernel against its definition, position by position."""

import math

import pytest
import torch

from learnscope.errors import BudgetError, InputError
from learnscope.kernels.analytic import compositional


@pytest.fixture
def images(generator):
    return torch.rand(3, 2, 4, 4, generator=generator, dtype=torch.float64)


def by_definition(images, levels):
    """Return the kernel of all images with all, by dictionaries from (image, position) pairs to values."""
    n, _, size, _ = images.shape
    places = [(i, r, c) for i in range(n) for r in range(size) for c in range(size)]
    kernel = {(p, q): float(images[p[0], :, p[1], p[2]] @ images[q[0], :, q[1], q[2]]) for p in places for q in places}
    for level in range(levels):
        if level:
            size //= 2
            cells = [(i, r, c) for i in range(n) for r in range(size) for c in range(size)]
            inside = {p: [(p[0], 2 * p[1] + a, 2 * p[2] + b) for a in (0, 1) for b in (0, 1)] for p in cells}
            kernel = {
                (p, q): sum(kernel[u, v] for u in inside[p] for v in inside[q]) / 16 for p in cells for q in cells
            }
            places = cells

        def patch(p, q, kernel=kernel):
            shifts = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
            pairs = (((p[0], p[1] + a, p[2] + b), (q[0], q[1] + a, q[2] + b)) for a, b in shifts)
            return sum(kernel.get(pair, 0.0) for pair in pairs)

        own = {p: patch(p, p) for p in places}
        kernel = {
            (p, q): math.exp(patch(p, q) / math.sqrt(own[p] * own[q]) - 1 if own[p] * own[q] > 0 else -1)
            for p in places
            for q in places
        }
    rows = torch.zeros(n, n, dtype=torch.float64)
    for (p, q), value in kernel.items():
        rows[p[0], q[0]] += value / size**4
    return rows


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_it_is_what_the_definition_says(levels, images):
    torch.testing.assert_close(compositional(images, levels=levels), by_definition(images, levels))


def test_blank_images_and_blank_corners_are_compared_as_orthogonal(images):
    images[0] = 0
    images[1, :, :3, :3] = 0
    torch.testing.assert_close(compositional(images), by_definition(images, 2))


def test_it_is_symmetric_positive_and_blind_to_brightness(images):
    kernel = compositional(images)
    torch.testing.assert_close(kernel, kernel.mT)
    assert float(torch.linalg.eigvalsh(kernel).min()) > 0
    torch.testing.assert_close(compositional(images, 7 * images), kernel)


def test_blocks_under_a_small_budget_give_the_same_kernel(images):
    more = torch.cat([images, images.flip(-1)])
    for budget in (3 * 256 * 8, 5 * 3 * 256 * 8):
        torch.testing.assert_close(compositional(images, more, budget=budget), compositional(images, more))


def test_permuted_pixels_change_it(images):
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    permuted = images.flatten(2)[..., order].view_as(images)
    assert float((compositional(permuted) - compositional(images)).abs().max()) > 1e-3


def test_wrong_arguments_are_one_sentence(images):
    with pytest.raises(BudgetError, match="too small for one pair of images of 16 pixels: give 6144"):
        compositional(images, budget=100)
    with pytest.raises(InputError, match="sides divisible by 8 for 4 levels"):
        compositional(images, levels=4)
    with pytest.raises(InputError, match="at least one level"):
        compositional(images, levels=0)
    with pytest.raises(InputError, match="give one size"):
        compositional(images, images[:, :1])
