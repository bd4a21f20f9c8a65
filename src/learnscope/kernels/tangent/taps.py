"""What layers are called with, and where autograd finds the gradients by what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from learnscope.kernels.tangent.quick_linear import linear


class Tap:
    """A layer's ``forward``, which remembers its only call.

    The output's place in autograd's graph is kept, rather than the output: an activation that writes over it moves the
    output to another place, and the gradient at the first one stays that by what the layer returned.

    Attributes:
        count: of calls; 2 if they were more, or with other arguments than one tensor.
        inputs: of the call.
        version: of these, after the call.
        shape: of the output.
        edge: the output's place, None if it has no gradient.
    """

    __slots__ = ("count", "edge", "forward", "inputs", "shape", "version")

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward, self.count, self.version = forward, 0, 0
        self.inputs: Tensor | None = None
        self.shape: torch.Size = torch.Size()
        self.edge: GradientEdge | None = None

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Return what the layer does."""
        output = self.forward(*inputs, **named)
        self.count += 1
        if self.count > 1 or named or len(inputs) != 1 or not isinstance(output, Tensor):
            self.count = 2
            return output
        self.inputs, self.shape = inputs[0].detach(), output.shape
        self.version = inputs[0]._version
        if output.requires_grad:
            self.edge = get_gradient_edge(output)
        return output

    def saw_once(self, n: int) -> bool:
        """Return whether there was one call, with n examples that nobody wrote over afterwards, and with a gradient."""
        return (
            self.count == 1
            and self.edge is not None
            and self.inputs is not None
            and self.inputs._version == self.version
            and self.inputs.shape[:1] == self.shape[:1] == (n,)
        )


@contextmanager
def tapped(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tap]]:
    """Tap layers until the end, and let linear ones among them multiply by the quickest library.

    Gradients flow to what layers are given, and not to the weights and biases of linear ones: enough for whoever asks
    for gradients at the taps. Backward passes that compute activations again belong in here as well.

    Examples:
        >>> layer, x = nn.Linear(3, 1), torch.ones(2, 3)
        >>> with tapped({"only": layer}) as taps:
        ...     y = layer(x).relu_()
        >>> taps["only"].saw_once(2), torch.equal(taps["only"].inputs, x)
        (True, True)
    """
    own = {name: vars(layer).get("forward") for name, layer in layers.items()}
    taps = {}
    for name, layer in layers.items():
        # hooks, and the module's own way of setting attributes, take longer than a small layer
        vars(layer)["forward"] = taps[name] = Tap(_quickest(layer))
    try:
        yield taps
    finally:
        for name, layer in layers.items():
            del vars(layer)["forward"]
            if own[name] is not None:
                vars(layer)["forward"] = own[name]


def _quickest(layer: nn.Module) -> Callable[..., Any]:
    """Return what does the same as a layer's ``forward``."""
    return partial(linear, layer) if type(layer) is nn.Linear and "forward" not in vars(layer) else layer.forward
