"""Convolutional networks that learn to tell even from odd digits, with features or lazily, and their tangent kernels.

Three convolutions of h channels, a fully connected layer and one output, in the parametrisation of the tangent kernel,
follow the gradient flow of a soft hinge loss on F = α (f − f₀). The regime hangs on α √h.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from learnscope.dynamics.margin_losses import MarginLoss
from learnscope.dynamics.module_flow import ModuleRun, Stop, flow
from learnscope.kernels import tangent_kernel
from learnscope.kernels.hard_margin import Kernel
from learnscope.laboratory import Point
from learnscope.networks.unit_weights import convolutional

STRIDES = (1, 2, 2)
LOSS = MarginLoss("soft_hinge", 20.0)


def digit_network(image: Sequence[int], point: Point, generator: torch.Generator) -> nn.Sequential:
    """Return an untrained network for images of some shape, with the point's ``channels`` and ``hidden`` units."""
    return convolutional(image, (point.channels,) * len(STRIDES), STRIDES, generator, hidden=(point.hidden,))


def learned_digits(
    network: nn.Module,
    scale: float,
    x: Tensor,
    y: Tensor,
    point: Point,
    *,
    stop: Stop | None = None,
    loss_levels: Sequence[float] = (),
) -> ModuleRun:
    """Train a network at a scale α √h, in steps that the point limits; snapshots at levels of the loss as in the flow.

    Args:
        network: untrained.
        scale: α √h, small for features, large for laziness.
        x: [p, channels, height, width] images.
        y: [p] their labels, ±1.
        point: of an experiment with ``channels``, ``max_output_change`` and ``max_gradient_change``.
        stop: when it ends; by default when all margins exceed 1.
        loss_levels: descending values of the mean loss, which starts at 1.
    """
    return flow(
        network,
        x,
        y,
        alpha=scale / point.channels**0.5,
        loss=LOSS,
        stop=stop,
        loss_levels=loss_levels,
        max_output_change=point.max_output_change,
        max_gradient_change=point.max_gradient_change,
    )


def module_kernel(network: nn.Module) -> Kernel:
    """Return the tangent kernel of a module with one output as a function of inputs, in double precision."""

    def kernel(x1: Tensor, x2: Tensor | None) -> Tensor:
        found = tangent_kernel(network, x1, x2, outputs=0)
        assert isinstance(found, Tensor)
        return found.double()

    return kernel
