"""Kernels of single layers against the whole kernel, finite networks, and known spectra."""

import pytest
import torch
from torch import nn

from learnscope.distributions.harmonics import n_harmonics
from learnscope.distributions.spherical import uniform_on_sphere
from learnscope.errors import InputError
from learnscope.kernels import tangent_kernel
from learnscope.kernels.analytic import infinite_width, layer_eigenvalues, layer_kernels


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_layers_sum_to_half_the_kernel_of_the_network(depth, generator):
    x = uniform_on_sphere(7, 4, generator)
    whole = infinite_width(2 * x, depth=depth).tangent  # radius √d
    torch.testing.assert_close(2 * layer_kernels((x @ x.mT).clamp(-1, 1), depth).sum(0), whole)


def test_every_layer_is_one_on_the_diagonal_and_the_read_out_is_the_gaussian_process():
    kernels = layer_kernels(torch.tensor([1.0, 0.3], dtype=torch.float64), 4)
    torch.testing.assert_close(kernels[:, 0], torch.ones(4, dtype=torch.float64))
    x = torch.tensor([[1.0, 0.0], [0.3, 0.91**0.5]], dtype=torch.float64)
    torch.testing.assert_close(2 * kernels[-1, 1], infinite_width(2**0.5 * x, depth=4).nngp[0, 1])


def test_wide_networks_have_these_kernels_layer_by_layer(generator):
    width, x = 3000, uniform_on_sphere(6, 3, generator, dtype=torch.float32)
    network = nn.Sequential(
        nn.Linear(3, width, bias=False), nn.ReLU(), nn.Linear(width, width, bias=False), nn.ReLU(), nn.Linear(width, 1)
    )
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer in linear:
            layer.weight.normal_(0, (2 / layer.in_features) ** 0.5, generator=generator)
    parts = tangent_kernel(network, x, outputs=0, parameters="*.weight", by_layer=True)
    expected = layer_kernels(x @ x.mT, 3)
    for part, layer, limit in zip(parts.values(), linear, expected, strict=True):
        torch.testing.assert_close(3 * part / layer.in_features, limit, atol=0.12, rtol=0)  # √3 x has radius √d


@pytest.mark.parametrize(("dim", "shares"), [(3, [0.263, 0.180, 0.099, 0.017]), (10, [0.398, 0.278, 0.159, 0.035])])
def test_the_share_of_high_degrees_falls_from_layer_to_layer(dim, shares):
    low = torch.tensor([n_harmonics(k, dim) for k in range(4)])
    assert (1 - (layer_eigenvalues(dim, 4, 3) * low).sum(1)).tolist() == pytest.approx(shares, abs=1e-3)


def test_high_degrees_count_the_relus_above_a_layer():
    top = layer_eigenvalues(3, 5, 81)[:, -2:]
    assert (top / top[3]).mean(1)[:3].tolist() == pytest.approx([4, 3, 2], rel=0.01)


def test_no_depth_is_refused():
    with pytest.raises(InputError, match="depth is 0"):
        layer_kernels(torch.zeros(1), 0)
