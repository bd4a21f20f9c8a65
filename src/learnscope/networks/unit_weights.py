"""Fully connected and convolutional networks of rectifiers in the parametrisation of the tangent kernel, as modules.

Weights are N(0, 1) at first, there are no biases, and a fixed number before each layer keeps the size of signals:

    z₁ = √(2 / n₁) W₁ x,   z_{l+1} = √(2 / n_{l+1}) W_{l+1} max(z_l, 0),   f(x) = z_L,

with n_l the number of inputs of one output of layer l. In gradient flow every layer then contributes to the tangent
kernel alike, and the kernel has a limit at infinite width h (:func:`learnscope.kernels.infinite_width`). The regime of
F = α (f − f₀) hangs on α √h. Layers are called ``fc1`` or ``conv1`` and so on, then ``output``; before each is its
scale, ``fc1_scale``, after it ``fc1_relu``.

Source: Jacot, Gabriel, Hongler 2018; for α √h, Geiger, Spigler, Jacot, Wyart 2020.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from learnscope.errors import InputError
from learnscope.networks.initialisation import require_positive

Named = list[tuple[str, nn.Module]]
GAIN = 2.0  # over the mean square of what a rectifier leaves of a normal signal


class Scaled(nn.Module):
    """Multiplication by a fixed number.

    Examples:
        >>> Scaled(0.5)(torch.tensor([2.0])).item()
        1.0
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Return the product."""
        return self.factor * x

    def extra_repr(self) -> str:
        """Return the factor, for printing."""
        return f"{self.factor:.4g}"


def fully_connected(inputs: int, widths: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Return a fully connected network with one output for examples [n, ...] of ``inputs`` numbers each.

    Args:
        inputs: numbers of an example.
        widths: units of each hidden layer; none makes the network linear.
        generator: source of the weights; its device becomes the network's.

    Raises:
        InputError: a size is not positive.

    Examples:
        >>> network = fully_connected(64, (30, 30), torch.Generator().manual_seed(0))
        >>> network(torch.ones(5, 1, 8, 8)).shape
        torch.Size([5, 1])
    """
    require_positive(inputs=inputs, least_width=min(widths, default=1))
    layers: Named = [("flatten", nn.Flatten())]
    for k, (before, after) in enumerate(itertools.pairwise((inputs, *widths)), start=1):
        layers += _hidden(f"fc{k}", skip_init(nn.Linear, before, after, bias=False), generator)
    output = skip_init(nn.Linear, (inputs, *widths)[-1], 1, bias=False)
    return nn.Sequential(OrderedDict(layers + _scaled("output", output, generator)))


def convolutional(
    image: Sequence[int],
    widths: Sequence[int],
    strides: Sequence[int],
    generator: torch.Generator,
    *,
    hidden: Sequence[int] = (),
) -> nn.Sequential:
    """Return convolutions of 3 × 3, fully connected layers, and one output.

    Args:
        image: channels, height and width.
        widths: channels after each convolution.
        strides: of each convolution, which divides height and width by it, rounding up.
        generator: source of the weights; its device becomes the network's.
        hidden: units of each fully connected layer after the convolutions.

    Raises:
        InputError: a size is not positive, or there are not as many strides as widths.

    Examples:
        >>> network = convolutional((1, 8, 8), (4, 4), (1, 2), torch.Generator().manual_seed(0), hidden=(10,))
        >>> network[:6](torch.ones(5, 1, 8, 8)).shape, network(torch.ones(5, 1, 8, 8)).shape
        (torch.Size([5, 4, 4, 4]), torch.Size([5, 1]))
    """
    if not widths or len(widths) != len(strides):
        raise InputError(f"{len(widths)} widths and {len(strides)} strides; give as many of each, one or more.")
    require_positive(least_side=min(image), least_width=min((*widths, *hidden)), least_stride=min(strides))
    layers: Named = []
    channels, height, width = image
    for k, (before, after, stride) in enumerate(zip((channels, *widths), widths, strides, strict=False), start=1):
        layer = skip_init(nn.Conv2d, before, after, 3, stride=stride, padding=1, bias=False)
        layers += _hidden(f"conv{k}", layer, generator)
        height, width = -(-height // stride), -(-width // stride)
    layers.append(("flatten", nn.Flatten()))
    sizes = (widths[-1] * height * width, *hidden)
    for k, (before, after) in enumerate(itertools.pairwise(sizes), start=1):
        layers += _hidden(f"fc{k}", skip_init(nn.Linear, before, after, bias=False), generator)
    output = skip_init(nn.Linear, sizes[-1], 1, bias=False)
    return nn.Sequential(OrderedDict(layers + _scaled("output", output, generator)))


def _hidden(name: str, layer: nn.Module, generator: torch.Generator) -> Named:
    return [*_scaled(name, layer, generator), (f"{name}_relu", nn.ReLU())]


def _scaled(name: str, layer: nn.Module, generator: torch.Generator) -> Named:
    """Return a layer with weights N(0, 1) on the generator's device, after the scale that keeps the size of signals."""
    shape = layer.get_parameter("weight").shape
    layer.weight = nn.Parameter(torch.randn(shape, generator=generator, device=generator.device))
    return [(f"{name}_scale", Scaled((GAIN / shape[1:].numel()) ** 0.5)), (name, layer)]
