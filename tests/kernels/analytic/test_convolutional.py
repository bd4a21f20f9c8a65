import itertools
import math

import pytest
import torch
from torch.func import jacrev, vmap
from torch.nn.functional import avg_pool2d, conv2d

from learnscope.errors import BudgetError, InputError
from learnscope.kernels.analytic import myrtle
from learnscope.kernels.analytic.convolutional import POOL_AFTER, convolved, pooled


@pytest.fixture
def images(generator):
    return torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64)


def network_tangent_kernel(x, channels, depth, generator):
    """Return the tangent kernel of a network of this form with that many channels, by brute force."""
    sizes = [x.shape[1], *[channels] * (depth - 1)]
    weights = [
        torch.randn(n_out, n_in, 3, 3, generator=generator, dtype=torch.float64)
        for n_in, n_out in itertools.pairwise(sizes)
    ]
    read_out = torch.randn(channels, generator=generator, dtype=torch.float64)

    def output(parameters, image):
        z = image[None]
        for k, weight in enumerate(parameters[:-1], 1):
            z = torch.relu(conv2d(z, (2 / (9 * weight.shape[1])) ** 0.5 * weight, padding=1))
            z = avg_pool2d(z, 2) if k in POOL_AFTER[depth] else z
        return (2 / channels) ** 0.5 * z.mean((2, 3))[0] @ parameters[-1]

    jacobian = vmap(jacrev(output), (None, 0))((*weights, read_out), x)
    rows = torch.cat([part.flatten(1) for part in jacobian], 1)
    return rows @ rows.T


def test_a_convolution_adds_the_covariances_of_positions_shifted_together(generator):
    covariance = torch.randn(3, 4, 3, 4, generator=generator, dtype=torch.float64)
    expected = torch.zeros_like(covariance)
    for h, w, u, v in torch.cartesian_prod(*(torch.arange(n) for n in covariance.shape)).tolist():
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                inside = 0 <= h + dy < 3 and 0 <= w + dx < 4 and 0 <= u + dy < 3 and 0 <= v + dx < 4
                expected[h, w, u, v] += covariance[h + dy, w + dx, u + dy, v + dx] * 2 / 9 if inside else 0
    torch.testing.assert_close(convolved(covariance, 2.0), expected)


def test_pooling_averages_over_both_windows(generator):
    covariance = torch.randn(4, 2, 4, 2, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(pooled(covariance)[1, 0, 0, 0], covariance[2:4, :, :2, :].mean())


@pytest.mark.parametrize("depth", [5, 7])
def test_networks_of_many_channels_converge_to_it_as_one_over_the_root_of_their_number(depth, images, generator):
    limit = myrtle(images, depth=depth).tangent
    kernels = {
        channels: torch.stack([network_tangent_kernel(images, channels, depth, generator) for _ in range(60)])
        for channels in (16, 64)
    }
    # medians, for few channels make some kernels huge; that of sixty is known to a tenth, the slope to 0.1
    errors = [float((kernel - limit).square().mean((1, 2)).sqrt().median()) for kernel in kernels.values()]
    assert math.log(errors[1] / errors[0]) / math.log(64 / 16) == pytest.approx(-0.5, abs=0.2)
    torch.testing.assert_close(kernels[64].mean(0), limit, rtol=0.12, atol=0.0)


def test_the_kernel_grows_with_the_size_of_an_image_like_the_network(images):
    kernels = myrtle(images, torch.cat([images, 3 * images]))
    torch.testing.assert_close(kernels.tangent[:, 3:], 3 * kernels.tangent[:, :3])
    torch.testing.assert_close(kernels.nngp[:, 3:], 3 * kernels.nngp[:, :3])


@pytest.mark.parametrize("depth", [5, 7, 10])
def test_kernels_are_symmetric_and_positive(depth, images):
    kernels = myrtle(images, depth=depth)
    for kernel in (kernels.nngp, kernels.tangent, kernels.tangent - kernels.nngp):
        torch.testing.assert_close(kernel, kernel.T)
        assert float(torch.linalg.eigvalsh(kernel).min()) > 0


def test_blocks_under_a_small_budget_give_the_same_kernel(images):
    torch.testing.assert_close(myrtle(images, budget=2 * 8 * 16**2 * 8).tangent, myrtle(images).tangent)


def test_wrong_arguments_are_one_sentence(images):
    with pytest.raises(BudgetError, match="too small for one pair of images of 16 pixels: give 16384"):
        myrtle(images, budget=100)
    with pytest.raises(InputError, match="depth is 6"):
        myrtle(images, depth=6)
    with pytest.raises(InputError, match="sides divisible by 4"):
        myrtle(images[..., :3])
    with pytest.raises(InputError, match="cannot be compared"):
        myrtle(images, images[:, :1])
