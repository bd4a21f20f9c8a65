"""Looking at a network without leaving a trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


def original_module(model: nn.Module) -> nn.Module:
    """Return the module that ``torch.compile`` wrapped, or the model itself."""
    inner = getattr(model, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else model


@contextmanager
def aside() -> Iterator[None]:
    """Compute beside the caller's work: no gradients, no autocast, and every global random state put back after.

    The random states are those of Python, NumPy, and torch on every device, also when an exception passes.
    """
    with _random_states_kept(), torch.no_grad(), without_autocast():
        yield


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluate the model in here, :func:`aside`; afterwards nothing about it has changed.

    Inside: evaluation mode (set flag by flag, so that an overridden ``train`` method is not called), and no fused
    attention path, which would bypass the children that hooks are on. Put back, also when an exception passes: the
    mode of every module, buffers that changed, and the state of any ``torch.Generator`` that a module holds.

    Cost: one copy of the buffers.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    held = [
        value for module in model.modules() for value in vars(module).values() if isinstance(value, torch.Generator)
    ]
    states = [generator.get_state() for generator in held]
    fused_attention = torch.backends.mha.get_fastpath_enabled()
    with aside():
        try:
            for module, _ in modes:
                module.training = False
            torch.backends.mha.set_fastpath_enabled(False)
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused_attention)
            for module, mode in modes:
                module.training = mode
            for buffer, saved in buffers:
                if not _same(buffer, saved):
                    buffer.copy_(saved)
            for generator, state in zip(held, states, strict=True):
                generator.set_state(state)


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    # NaN counts as equal to itself, or a buffer that holds NaN would be written at every look
    return a.shape == b.shape and bool(torch.equal(a, b) or torch.isclose(a, b, 0, 0, equal_nan=True).all())


@contextmanager
def _random_states_kept() -> Iterator[None]:
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's, not ours
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002


@contextmanager
def without_autocast() -> Iterator[None]:
    """Compute in the dtype of the tensors, whatever mixed precision the caller trains in."""
    with torch.autocast("cpu", enabled=False):
        if torch.cuda.is_available():
            with torch.autocast("cuda", enabled=False):
                yield
        else:
            yield
