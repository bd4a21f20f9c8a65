"""What the demonstration trains, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from learnscope.errors import InputError, nearest_names

Data = Literal["digits", "mnist", "fashion_mnist", "cifar10"]
Network = Literal["cnn", "mlp", "resnet"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Stochastic gradient descent with momentum on the cross-entropy.

    Attributes:
        epochs: passes over the training images.
        batch_size: images in a step.
        learning_rate: at the first step; it falls to zero along half a cosine.
        momentum: of the optimiser.
        probe_examples: number of test images that the scope watches.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9
    probe_examples: int = 1000


RECIPES: dict[str, Recipe] = {
    "digits": Recipe(epochs=40, batch_size=32, learning_rate=0.02),
    "mnist": Recipe(epochs=3, batch_size=64, learning_rate=0.02),
    "fashion_mnist": Recipe(epochs=3, batch_size=64, learning_rate=0.02),
    "cifar10": Recipe(epochs=8, batch_size=64, learning_rate=0.02),
}


def recipe_for(data: str) -> Recipe:
    """Return the recipe of a data set, or raise with the nearest names."""
    if data not in RECIPES:
        raise InputError(f"there is no data set {data!r}: choose among {nearest_names(data, get_args(Data), most=4)}.")
    return RECIPES[data]


def check_names(data: str, network: str) -> None:
    """Raise, with the nearest names, unless there are a data set and a network of these names; nothing is loaded."""
    recipe_for(data)
    if network not in get_args(Network):
        raise InputError(f"there is no network {network!r}: choose among {nearest_names(network, get_args(Network))}.")
