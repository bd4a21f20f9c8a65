"""How the outputs of a network with one hidden layer answer to small changes of its parameters."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

from torch import Tensor

from learnscope.networks.one_hidden_layer import OneHiddenLayer

CHUNK = 2**21  # values of pre-activations at a time


class Response(NamedTuple):
    """At n points, the tangent kernel h J Jᵀ [n, n] of what moves, and the outputs' rates of change J dθ/dt [n]."""

    kernel: Tensor
    change: Tensor


def response(
    network: OneHiddenLayer, velocity: OneHiddenLayer, x: Tensor, frozen: Collection[str], directions: Tensor
) -> Response:
    """Return the response at some points, in float64: rounding would spoil the equations that are made from it.

    Args:
        network: where it is.
        velocity: dθ/dt in the shape of a network, zero for what is frozen.
        x: [n, d] points.
        frozen: the parts that do not move (:data:`learnscope.dynamics.shallow.problem.PARTS`).
        directions: [h, d] unit vectors, along which ω moves where "directions" are frozen; else not looked at.

    Cost: 2 n² h multiply-adds, and n h d; memory of some 16 MB beside three [n, n].

    Source: as for :func:`learnscope.kernels.one_hidden_layer.tangent_kernels`, which has no frozen parts.

    Examples:
        >>> import torch
        >>> from learnscope.networks.activations import Activation
        >>> one = OneHiddenLayer(torch.ones(1, 1), torch.zeros(1), torch.ones(1), Activation("relu"))
        >>> response(one, one, torch.ones(1, 1), {"biases"}, one.weights)  # f = β ω x, and both move by 1
        Response(kernel=tensor([[2.]], dtype=torch.float64), change=tensor([2.], dtype=torch.float64))
    """
    scaled = x.double() / math.sqrt(network.dim)
    of_outputs, of_biases, of_weights = scaled.new_zeros(3, len(x), len(x))
    change = scaled.new_zeros(len(x))
    neurons = max(1, CHUNK // max(1, len(x)))
    tensors = (network.weights, network.biases, network.outputs, velocity.weights, velocity.biases, velocity.outputs)
    for chunk in zip(*(each.split(neurons) for each in (*tensors, directions)), strict=True):
        w, b, beta, moving_w, moving_b, moving_beta, along = (each.double() for each in chunk)
        u = scaled @ w.mT + b
        value, slope = network.activation.value(u), network.activation.slope(u) * beta
        change += value @ moving_beta + (slope * (scaled @ moving_w.mT + moving_b)).sum(1)
        of_outputs.addmm_(value, value.mT)
        of_biases.addmm_(slope, slope.mT)
        if "directions" in frozen:
            projected = slope * (scaled @ along.mT)
            of_weights.addmm_(projected, projected.mT)
    if "directions" not in frozen:
        of_weights = of_biases * (scaled @ scaled.mT)
    shares = {"outputs": of_outputs, "biases": of_biases, "weights": of_weights}
    kernel = sum((share for part, share in shares.items() if part not in frozen), scaled.new_zeros(len(x), len(x)))
    return Response(kernel / network.width, change / network.width)
