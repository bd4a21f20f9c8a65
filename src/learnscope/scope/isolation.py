"""Looking at a network without leaving a trace."""

from __future__ import annotations

import random
import sys
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

    Inside: evaluation mode (set flag by flag, so that an overridden ``train`` method is not called), no compiled code,
    and no fused attention path, both of which bypass the children that hooks are on. Put back, also when an exception
    passes: every attribute of every module (its mode, counters, cached activations), the buffers and their values, and
    the states of ``torch.Generator`` objects that a module holds. What a forward pass changes inside other objects that
    a module holds is out of reach, and the caller's own hooks do run.

    Cost: one copy of the buffers.
    """
    modules = list(model.modules())
    attributes = [(module, dict(vars(module)), dict(module._buffers)) for module in modules]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    held = [generator for module in modules for value in vars(module).values() for generator in _generators(value)]
    states = [generator.get_state() for generator in held]
    fused_attention = torch.backends.mha.get_fastpath_enabled()
    with aside(), _eager():
        try:
            for module in modules:
                module.training = False
            torch.backends.mha.set_fastpath_enabled(False)
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused_attention)
            for module, saved, saved_buffers in attributes:
                vars(module).clear()
                vars(module).update(saved)
                module._buffers.clear()
                module._buffers.update(saved_buffers)
            for buffer, value in buffers:
                if not _same(buffer, value):
                    buffer.resize_(value.shape).copy_(value)
            for generator, state in zip(held, states, strict=True):
                generator.set_state(state)


def _generators(value: object) -> list[torch.Generator]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
    return [part for part in parts if isinstance(part, torch.Generator)]


@contextmanager
def _eager() -> Iterator[None]:
    """Run compiled parts of a model as they were written; a process that never compiled anything is left alone."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


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
