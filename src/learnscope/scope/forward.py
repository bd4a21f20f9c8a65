"""Running the model on part of the probe, as fast as the model allows and without changing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from learnscope.kernels.tangent.functional import call_with
from learnscope.scope.isolation import undisturbed
from learnscope.scope.probe import Predict, Probe, check_outputs, mapped, portions

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

    def __call__(
        self, start: int, stop: int, rows: int | None = None, before: Callable[[], None] = lambda: None
    ) -> Tensor:
        """Return outputs [stop - start, outputs]; the model must be undisturbed meanwhile.

        Args:
            start: the first example.
            stop: the example after the last.
            rows: how many go through the model at once; by default all of them.
            before: called before each such portion.
        """
        arguments = (start, stop, rows or stop - start, before)
        if not self.channels_last:
            return self._outputs(*arguments)
        lent = {f"model.{name}": _copied(v, True) for name, v in self.model.named_parameters() if v.ndim == 4}
        return call_with(_Around(self.model, self._outputs), lent, *arguments)

    def _outputs(self, start: int, stop: int, rows: int, before: Callable[[], None]) -> Tensor:
        outputs: list[Tensor] = []
        for begin, end in portions(start, stop, rows):
            before()
            # a copy, for a model may overwrite its input
            x = mapped(self.probe.rows(begin, end), lambda tensor: _copied(tensor, self.channels_last))
            output = check_outputs(self.predict(self.model, x), self.probe, end - begin)
            outputs.append(output.detach().clone())  # for a model may return the same buffer each time
        return torch.cat(outputs)


class _Around(nn.Module):
    """A model and work that calls it, as one module, whose parameters can be lent for all of the work."""

    def __init__(self, model: nn.Module, work: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.work = model, work

    def forward(self, *arguments: Any) -> Tensor:
        return self.work(*arguments)


def _copied(x: Tensor, inner_channels: bool) -> Tensor:
    # clone, for contiguous() leaves the strides of a single channel, which fit both orders, as they are
    return x.clone(memory_format=torch.channels_last if inner_channels and x.ndim == 4 else torch.preserve_format)


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
