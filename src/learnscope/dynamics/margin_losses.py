"""Losses of a prediction F for a label y, most of them functions of the margin m = y F."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from learnscope.errors import InputError, nearest_names

Kind = Literal["hinge", "soft_hinge", "quadratic_hinge", "logistic", "squared"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class MarginLoss:
    """ℓ(m) of a margin m = y F, for labels y of −1 and +1.

    - hinge: max(0, 1 − m)
    - soft_hinge: log(1 + exp(s (1 − m))) / s, which tends to the hinge as the sharpness s grows
    - quadratic_hinge: max(0, 1 − m)² / 2
    - logistic: log(1 + exp(−m))
    - squared: (1 − m)² / 2, which is (F − y)² / 2, and that is what it means for any other label

    Attributes:
        kind: which of them.
        sharpness: s of the soft hinge; the others have none.

    Examples:
        >>> MarginLoss("hinge").value(torch.tensor([0.0, 1.0, 3.0]))
        tensor([1., 0., 0.])
    """

    kind: Kind
    sharpness: float = 20.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"loss {self.kind!r} is not known here: choose {nearest_names(self.kind, KINDS)}.")
        if not 0 < self.sharpness < math.inf:
            raise InputError(f"sharpness {self.sharpness:g} of a loss: give a positive number.")

    def value(self, margins: Tensor) -> Tensor:
        """Return ℓ(m)."""
        gap = 1 - margins
        if self.kind == "hinge":
            return gap.clamp(min=0)
        if self.kind == "soft_hinge":
            return -logsigmoid(-self.sharpness * gap) / self.sharpness
        if self.kind == "quadratic_hinge":
            return gap.clamp(min=0).square() / 2
        return -logsigmoid(margins) if self.kind == "logistic" else gap.square() / 2

    def slope(self, margins: Tensor) -> Tensor:
        """Return ℓ'(m), zero at the kink of the hinge."""
        gap = 1 - margins
        if self.kind == "hinge":
            return -(gap > 0).to(margins.dtype)
        if self.kind == "soft_hinge":
            return -torch.sigmoid(self.sharpness * gap)
        if self.kind == "quadratic_hinge":
            return -gap.clamp(min=0)
        return -torch.sigmoid(-margins) if self.kind == "logistic" else -gap

    def of(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each prediction, (F − y)² / 2 for the squared loss and ℓ(y F) for all others."""
        if self.kind == "squared":
            return (predictions - labels).square() / 2
        return self.value(labels * predictions)

    def pull(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """Return the derivative of the loss in each prediction, F − y or y ℓ'(y F)."""
        return predictions - labels if self.kind == "squared" else labels * self.slope(labels * predictions)


def margin_loss(name: str | MarginLoss) -> MarginLoss:
    """Return the loss of a name, or the loss itself.

    Raises:
        InputError: if the name is not known.

    Examples:
        >>> margin_loss("soft_hinge")
        MarginLoss(kind='soft_hinge', sharpness=20.0)
    """
    return name if isinstance(name, MarginLoss) else MarginLoss(name)  # pyright: ignore[reportArgumentType]
