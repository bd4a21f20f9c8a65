"""Activations of one hidden layer as values: the function, its slope, and what makes its mean square one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from learnscope.errors import InputError, nearest_names

Kind = Literal["relu", "softplus", "erf", "tanh"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Activation:
    """σ(u) = c a(u), with a the rectifier max(u, 0), the softplus log(1 + exp(s u)) / s, the error function, or tanh.

    The softplus tends to the rectifier as its sharpness s grows.

    Attributes:
        kind: which a.
        sharpness: s of the softplus; the others have none.
        scale: c.

    Examples:
        >>> Activation("softplus", sharpness=5.0).slope(torch.zeros(()))
        tensor(0.5000)
    """

    kind: Kind
    sharpness: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"activation {self.kind!r} is not known here: choose {nearest_names(self.kind, KINDS)}.")
        if not 0 < self.sharpness < math.inf or not 0 < self.scale < math.inf:
            raise InputError(
                f"sharpness {self.sharpness:g} and scale {self.scale:g} of an activation: give positive numbers."
            )

    def value(self, u: Tensor) -> Tensor:
        """Return σ(u)."""
        if self.kind == "relu":
            return self.scale * u.clamp(min=0)
        if self.kind == "softplus":
            return -self.scale / self.sharpness * logsigmoid(-self.sharpness * u)
        return self.scale * (torch.erf(u) if self.kind == "erf" else torch.tanh(u))

    def slope(self, u: Tensor) -> Tensor:
        """Return σ'(u), zero at the kink of the rectifier."""
        if self.kind == "relu":
            return self.scale * (u > 0).to(u.dtype)
        if self.kind == "softplus":
            return self.scale * torch.sigmoid(self.sharpness * u)
        if self.kind == "erf":
            return self.scale * 2 / math.pi**0.5 * torch.exp(-u.square())
        return self.scale * (1 - torch.tanh(u).square())

    def normalised(self) -> Activation:
        """Return the multiple of a with E σ(z)² = 1 for z ~ N(0, 1), such as √2 max(u, 0).

        Gauss and Hermite's quadrature with 200 nodes, exact to about 1e-6 for a softplus of sharpness 20 or less.

        Examples:
            >>> round(Activation("relu").normalised().scale, 6)
            1.414214
        """
        if self.kind == "relu":
            return replace(self, scale=math.sqrt(2))
        nodes, weights = np.polynomial.hermite_e.hermegauss(200)
        values = replace(self, scale=1.0).value(torch.from_numpy(nodes)).numpy()
        return replace(self, scale=float((weights @ values**2 / weights.sum()) ** -0.5))


def activation(name: str | Activation, sharpness: float = 1.0) -> Activation:
    """Return the activation of a name, as it is or, with ``normalised_`` before its name, with mean square one.

    Raises:
        InputError: if the name is not known.

    Examples:
        >>> activation("normalised_relu") == Activation("relu", scale=2**0.5)
        True
    """
    if isinstance(name, Activation):
        return name
    kind = name.removeprefix("normalised_")
    if kind not in KINDS:
        known = [*KINDS, *(f"normalised_{kind}" for kind in KINDS)]
        raise InputError(f"activation {name!r} is not known here: choose {nearest_names(name, known)}.")
    plain = Activation(kind, sharpness=sharpness)  # pyright: ignore[reportArgumentType]
    return plain.normalised() if name != kind else plain
