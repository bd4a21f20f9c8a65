"""Running the model on part of the probe, as fast as the model allows and without changing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from learnscope.scope.isolation import undisturbed
from learnscope.scope.probe import Inputs, Predict, Probe, check_outputs, mapped

AGREEMENT = 1e-3


@dataclass(frozen=True)
class Forward:
    """The model's outputs on rows of the probe.

    Convolutions and pooling run several times faster on a CPU with the channels innermost in memory. That is a matter
    of strides, not of values, so the weights are lent to the model in that order for the length of a call, and
    results differ by rounding only.

    Attributes:
        model: the module.
        probe: the examples.
        predict: how outputs are computed from model and inputs.
        channels_last: whether images and kernels are laid out with the channels innermost.
    """

    model: nn.Module
    probe: Probe
    predict: Predict
    channels_last: bool = False

    def __call__(self, start: int, stop: int) -> Tensor:
        """Return outputs [stop - start, outputs]; the model must be undisturbed meanwhile."""
        # a copy, for a model may overwrite its input
        rows = mapped(self.probe.rows(start, stop), torch.clone)
        if not self.channels_last:
            return check_outputs(self.predict(self.model, rows), self.probe, stop - start)
        lent = {f"model.{k}": _inner_channels(v) for k, v in self.model.named_parameters() if v.ndim == 4}
        outputs = functional_call(_Predicting(self.model, self.predict), lent, (mapped(rows, _inner_channels),))
        return check_outputs(outputs, self.probe, stop - start)


class _Predicting(nn.Module):
    """A model together with how it is called, as one module whose parameters can be lent."""

    def __init__(self, model: nn.Module, predict: Predict) -> None:
        super().__init__()
        self.model, self.predict = model, predict

    def forward(self, x: Inputs) -> Any:
        return self.predict(self.model, x)


def _inner_channels(x: Tensor) -> Tensor:
    # clone, for contiguous() leaves the strides of a single channel, which fit both orders, as they are
    return x.clone(memory_format=torch.channels_last) if x.ndim == 4 else x


def fastest(model: nn.Module, probe: Probe, predict: Predict) -> Forward:
    """Return a forward pass with the channels innermost if the model works that way, else the plain one.

    Raises:
        InputError: if the plain pass returns something unusable.
    """
    plain = Forward(model, probe, predict)
    with undisturbed(model):
        expected = plain(0, 2)
        if not any(v.ndim == 4 for v in model.parameters()):
            return plain
        quick = Forward(model, probe, predict, channels_last=True)
        try:
            outputs = quick(0, 2)
        except Exception:  # noqa: BLE001 - such as a view() or an assertion that needs the usual order
            return plain
    agree = torch.allclose(outputs, expected, AGREEMENT, AGREEMENT * float(expected.abs().max()), equal_nan=True)
    return quick if agree else plain
