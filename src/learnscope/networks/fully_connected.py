"""The fully connected network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from learnscope.networks.initialisation import linear


class FullyConnected(nn.Module):
    """Linear layers with ReLUs between them: x → W_L relu(… relu(W₁ x + b₁) …) + b_L.

    Layers are called ``flatten``, ``fc1``, ``relu1``, ``fc2``, ``relu2``, …, ``output``. Standard
    parametrisation, He's initialisation: W ~ N(0, 2 / fan_in), b = 0, drawn from ``generator`` alone.

    Args:
        inputs: number of numbers in an example.
        widths: units of each hidden layer; none makes the network linear.
        outputs: number of classes.
        generator: source of the initial weights; its device becomes the network's.

    Raises:
        InputError: a size is not positive.

    Examples:
        >>> network = FullyConnected(64, (32, 16), 10, generator=torch.Generator().manual_seed(0))
        >>> network(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
        >>> [name for name, _ in network.named_children()]
        ['flatten', 'fc1', 'relu1', 'fc2', 'relu2', 'output']
    """

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.add_module("flatten", nn.Flatten())
        for number, (before, width) in enumerate(zip((inputs, *widths), widths, strict=False), start=1):
            self.add_module(f"fc{number}", linear(before, width, generator))
            self.add_module(f"relu{number}", nn.ReLU())
        self.add_module("output", linear((inputs, *widths)[-1], outputs, generator))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [n, outputs] of examples [n, ...] with ``inputs`` numbers each."""
        for layer in self.children():
            x = layer(x)
        return x
