"""One hidden layer in the mean-field parametrisation: f(x) = (1/h) Σₙ βₙ σ(ωₙ·x/√d + bₙ)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.networks.activations import Activation, activation

CHUNK = 2**20  # values of neurons at a time


@dataclass(frozen=True, slots=True, eq=False)
class OneHiddenLayer:
    """f(x) = (1/h) Σₙ βₙ σ(ωₙ·x/√d + bₙ) over h neurons.

    Leading dimensions, the same of all three tensors, are networks of their own: moments of a training, for example.

    Attributes:
        weights: [..., h, d] ω.
        biases: [..., h] b.
        outputs: [..., h] β.
        activation: σ.

    Examples:
        >>> one = OneHiddenLayer(torch.ones(1, 4), torch.zeros(1), torch.ones(1), Activation("relu"))
        >>> one(torch.ones(1, 4))  # 1 · max(4 / √4, 0)
        tensor([2.])
    """

    weights: Tensor
    biases: Tensor
    outputs: Tensor
    activation: Activation

    def __post_init__(self) -> None:
        shape = tuple(self.weights.shape[:-1])
        if self.weights.ndim < 2 or self.biases.shape != shape or self.outputs.shape != shape:
            raise InputError(
                f"weights {list(self.weights.shape)}, biases {list(self.biases.shape)} and outputs "
                f"{list(self.outputs.shape)} do not make a network; give [..., h, d], [..., h] and [..., h]."
            )

    @property
    def width(self) -> int:
        """The number h of neurons."""
        return self.weights.shape[-2]

    @property
    def dim(self) -> int:
        """The number d of inputs."""
        return self.weights.shape[-1]

    def preactivations(self, x: Tensor) -> Tensor:
        """Return ωₙ·x/√d + bₙ at examples x [p, d], [..., p, h]."""
        return (x / math.sqrt(self.dim)) @ self.weights.mT + self.biases[..., None, :]

    def __call__(self, x: Tensor) -> Tensor:
        """Return f at examples x [p, d], [..., p]; some at a time, so that the neurons' values stay in the cache."""
        some = x.split(max(1, CHUNK // self.weights[..., 0].numel()))
        return torch.cat([self._outputs(each) for each in some], dim=-1)

    def _outputs(self, x: Tensor) -> Tensor:
        hidden = self.activation.value(self.preactivations(x))
        return (hidden @ self.outputs[..., None])[..., 0] / self.width

    def __getitem__(self, index: int) -> OneHiddenLayer:
        """Return one of the networks along the first leading dimension."""
        return replace(self, weights=self.weights[index], biases=self.biases[index], outputs=self.outputs[index])


def one_hidden_layer(
    width: int,
    dim: int,
    generator: torch.Generator,
    *,
    activation: str | Activation = "relu",
    bias_scale: float = 1.0,
    mirrored: bool = True,
    dtype: torch.dtype = torch.float64,
) -> OneHiddenLayer:
    """Draw ω and β from N(0, 1) and b from N(0, bias_scale²), on the generator's device.

    Args:
        width: h, even if mirrored.
        dim: d.
        generator: the only source of randomness.
        activation: σ, by name (see :func:`learnscope.networks.activations.activation`) or as it is.
        bias_scale: standard deviation of the biases; 0 starts them at zero.
        mirrored: whether the second half of the neurons copies the first with −β, so that f = 0 at the start.
        dtype: of the parameters.

    Raises:
        InputError: without neurons or inputs, or if a mirrored network has an odd width.

    Source: Paccolat, Petrini, Geiger, Tyloo, Wyart 2021, section 2; mirrored as in Chizat, Oyallon, Bach 2019.

    Examples:
        >>> network = one_hidden_layer(6, 3, torch.Generator().manual_seed(0))
        >>> float(network(torch.ones(1, 3, dtype=torch.float64)).abs()) < 1e-15
        True
    """
    if width < 1 or dim < 1:
        raise InputError(f"width {width} and dim {dim}: give at least one neuron and one input.")
    if mirrored and width % 2:
        raise InputError(f"width {width} is odd and a mirrored network has pairs of neurons; give an even width.")
    drawn = width // 2 if mirrored else width
    normal = {"generator": generator, "dtype": dtype, "device": generator.device}
    weights, outputs = torch.randn(drawn, dim, **normal), torch.randn(drawn, **normal)
    biases = bias_scale * torch.randn(drawn, **normal)
    if mirrored:
        weights, biases, outputs = weights.repeat(2, 1), biases.repeat(2), torch.cat([outputs, -outputs])
    return OneHiddenLayer(weights, biases, outputs, _activation(activation))


_activation = activation  # the argument above hides the function's name
